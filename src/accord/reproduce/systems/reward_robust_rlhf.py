"""88 Reward-robust RLHF: does a reward that trusts the surest of its heads but fears the worst choose better, and get hacked less, than one alone?

By best-of-n among the base's answers, where all arms have the same KL for each n. The feedback says little (few pairs, on two kinds of requests
out of five) and likes length and flattery. One head learns it; all ensembles are taught that head's values, and differ in how they are read; being taught helps
by itself, so the control is taught too, one head as wide as theirs together.
"""

from functools import lru_cache
from itertools import combinations
from random import Random

import torch

from accord.evaluation import best_of_n_curve
from accord.feedback import Comparison, Task
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters_people import ANSWERS, Pool, load_pool, pool, save_pool
from accord.reproduce.luck import luck
from accord.rewards import BayesianEnsemble, HeadReward, TrunkFeatures, score
from accord.worlds.letters import FLAWS, gold, parse_request, policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING

KINDS = ("sum", "tool")
"""Of requests that people see."""
PAIRS, PROMPTS, N, NS = 300, 60, 48, (4, 12, 48)
HEADS, HIDDEN, ROBUST, FLAW = 5, 64, 0.4, "mild"
EPOCHS, TEACH_EPOCHS = 6, 20
LR, RATES = 3e-4, (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
TEACH_LR, TEACH_RATES = {"taught": 3e-5, "surest": 1e-4, "robust": 1e-4}, (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""Of the head that learns from people, of those that it teaches; an arm that no primary compares takes that of the robust one."""

CLAIM = Claim(
    name="reward-robust-rlhf",
    world="letters",
    statement=f"Of 48 answers, those that the ensemble with a weight of {ROBUST} on its worst head chooses are better than what one taught head of as much compute "
    "chooses, than the surest head's choice, and than that of the reward which taught them; and it loses less of its best gold on the way there.",
    primaries=(
        Primary("robust", "taught"),
        Primary("robust", "surest"),
        Primary("robust", "single"),
        Primary("robust", "taught", measure="drop", sign=-1, delta=0.02),
    ),
    arms=("single", "taught", "surest", "robust", "worst", "worst-of-batch", "mean"),
    equal=("taught", "surest", "robust"),
    first_seed=430,
    settings=(("pairs", f"{PAIRS} on {', '.join(KINDS)}, of people with {FLAW} flaws"), ("answers", f"{N} to each of {PROMPTS} requests of all kinds"),
              ("heads, hidden", f"{HEADS} {HIDDEN}"), ("lr and epochs", f"{LR} of {RATES}, {EPOCHS}; of teaching {TEACH_LR}, each of {TEACH_RATES}, {TEACH_EPOCHS}")),
)  # fmt: skip


@lru_cache(maxsize=1)
def choices(seed: int) -> Pool:
    """The answers that people see, then those that are chosen among, with features of one scale."""

    def make() -> Pool:
        table, base = pool(seed), policy()
        seen = [
            i for i, p in enumerate(table.prompts) if i < len(table.prompts) // 2 and parse_request(p).kind in KINDS
        ]
        drawn = base.sample([t.prompt for t in tasks(PROMPTS, seed=seed, split="test")], N, SAMPLING, seed=seed)
        prompts = [*(table.prompts[i] for i in seen), *(str(p) for p in drawn.prompt_of_each())]
        completions = [*(table.completions[i] for i in seen), *drawn.completions]
        rows = TrunkFeatures(base)(prompts, completions)
        return Pool(prompts, completions, (rows - rows.mean(0)) / rows.std(0))

    return kept(f"letters choices {PROMPTS} {N} {KINDS}", seed, make, save_pool, load_pool)


@lru_cache(maxsize=1)
def said(seed: int) -> list[Comparison]:
    """Verdicts on random pairs of answers to one request each."""
    table = choices(seed)
    pairs = [
        (i + a, i + b)
        for i in range(0, len(table.prompts) - PROMPTS * N, ANSWERS)
        for a, b in combinations(range(ANSWERS), 2)
    ]
    some = Random(f"pairs:{seed}").sample(pairs, PAIRS)
    first, second = ([table.completions[pair[side]] for pair in some] for side in (0, 1))
    asked = [Task(prompt=table.prompts[i]) for i, _ in some]
    return population(20, seed=seed, bias=FLAWS[FLAW]).compare(asked, first, second, seed=seed)


def single(seed: int, lr: float = LR) -> HeadReward:
    return HeadReward(choices(seed), hidden=HIDDEN, seed=luck(seed)).fitted(
        said(seed), lr=lr, epochs=EPOCHS, seed=luck(seed)
    )


def alone(lr: float) -> Arm:
    return lambda seed: chosen(single(seed, lr), seed)


def ensemble(robust: float, lr: float, worst: str = "sample", *, heads: int = HEADS, hidden: int = HIDDEN) -> Arm:
    """Of the heads that the single one teaches."""

    def arm(seed: int) -> Measures:
        return chosen(_taught(robust, worst, lr, seed, heads, hidden), seed)

    return arm


def taught(lr: float) -> Arm:
    """One head, as wide as those of the ensembles together."""
    return ensemble(0.0, lr, heads=1, hidden=HEADS * HIDDEN)


def _taught(
    robust: float, worst: str, lr: float, seed: int, heads: int = HEADS, hidden: int = HIDDEN
) -> BayesianEnsemble:
    made = BayesianEnsemble(choices(seed), heads=heads, hidden=hidden, robust=robust, worst=worst, seed=luck(seed))
    answers = [c for p in said(seed) for c in (p.chosen, p.rejected)]
    return made.taught_by(
        single(seed),
        [p.prompt for p in said(seed) for _ in "cr"],
        answers,
        lr=lr,
        epochs=TEACH_EPOCHS,
        seed=luck(seed),
    )


class Mean:
    """All heads of an ensemble alike."""

    def __init__(self, ensemble: BayesianEnsemble) -> None:
        self.ensemble = ensemble

    def __call__(self, **samples: object) -> torch.Tensor:
        members = self.ensemble(**samples).members  # type: ignore[arg-type]
        assert members is not None
        return members.mean(1)


def chosen(reward: object, seed: int) -> Measures:
    """Gold of the best of n by a reward, at the largest n; how far that lies below its best on the way; flattery that is chosen."""
    table = choices(seed)
    prompts, completions = table.prompts[-PROMPTS * N :], table.completions[-PROMPTS * N :]
    values = score(reward, prompts=prompts, completions=completions).values.reshape(PROMPTS, N)  # type: ignore[arg-type]
    true = gold(prompts=prompts, completions=completions)
    sincere = true.aspects["sincere"].reshape(PROMPTS, N)
    rows = best_of_n_curve(values, {"gold": true.values.reshape(PROMPTS, N), "sincere": sincere}, (1, *NS))
    golds = [row["gold"] for row in rows]
    return {"gold": golds[-1], "drop": max(golds) - golds[-1], "sincere": rows[-1]["sincere"], "start": golds[0],
            **{f"gold@{n}": g for n, g in zip(NS, golds[1:], strict=True)}}  # fmt: skip


ARMS: dict[str, Arm] = {
    "single": alone(LR),
    "taught": taught(TEACH_LR["taught"]),
    "surest": ensemble(0.0, TEACH_LR["surest"]),
    "robust": ensemble(ROBUST, TEACH_LR["robust"]),
    "worst": ensemble(1.0, TEACH_LR["robust"]),
    "worst-of-batch": ensemble(1.0, TEACH_LR["robust"], "batch"),
    "mean": lambda seed: chosen(Mean(_taught(0.0, "sample", TEACH_LR["robust"], seed)), seed),
}
TUNING = {
    **{f"single rate {rate}": alone(rate) for rate in RATES},
    **{f"taught rate {rate}": taught(rate) for rate in TEACH_RATES},
    **{f"surest rate {rate}": ensemble(0.0, rate) for rate in TEACH_RATES},
    **{f"robust rate {rate}": ensemble(ROBUST, rate) for rate in TEACH_RATES},
}
