"""82 AMFT: does steering the share of imitation, by what helps and by entropy, do at least as well as a fixed share?

Sums of two or three terms. Who shows how knows only those of two, and is wrong in three of ten; exploration is paid for right answers to all.
The rounds of the control go on longer, by what looking ahead costs.
"""

from collections.abc import Callable
from functools import partial

from accord.algorithms import AMFT, GRPO, Supervised
from accord.engine import fit
from accord.feedback import Example, Task
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.letters import CALM, train
from accord.reproduce.letters_arms import FASTER
from accord.reproduce.luck import luck
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import numeric_answer, score
from accord.worlds.letters import parse_request, policy, tasks
from accord.worlds.letters.demonstrations import demonstrations
from accord.worlds.letters.tasks import Kind, worked_out

STEPS, BATCH, GROUP, WRONG, WARMUP, TESTS = 48, 12, 4, 0.3, 10, 300
LONGER = {"in turn": 1.06, "share": 1.16}
"""Times as many steps of those that don't look ahead, by what that costs."""
RATE, EVERY, LOOK = 0.1, 8, 16
SHARES = (0.2, 0.5, 0.8)
LR = {"in turn": 2e-4, "share-0.2": 2e-4, "share-0.5": 2e-4, "share-0.8": 2e-4, "amft": 2e-4}
KINDS: tuple[Kind, ...] = ("reason",)
SAMPLING = Sampling(max_new_tokens=64)

CLAIM = Claim(
    name="amft",
    world="letters",
    statement="At equal compute AMFT answers more held-out sums right than imitation followed by exploration, and not fewer than either with a fixed share "
    f"of imitation, {SHARES[0]} or {SHARES[1]}.",
    primaries=(Primary("amft", "in turn", delta=0.05), *(Primary("amft", f"share-{s}", says="not worse", delta=0.05) for s in SHARES[:2])),
    arms=("in turn", *(f"share-{s}" for s in SHARES), "amft"),
    equal=("in turn", *(f"share-{s}" for s in SHARES), "amft"),
    seeds=12,
    settings=(("steps", f"{STEPS}; of the others {LONGER} times as many"), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"),
              ("imitation alone", f"{WARMUP} steps"), ("looking ahead", f"on {LOOK} x {GROUP} answers each {EVERY} steps, rate {RATE}"), ("demonstrations", f"of sums of two, {WRONG} wrong")),
)  # fmt: skip

right = numeric_answer("answer")


def sums(n: int, seed: int) -> list[Task]:
    return tasks(n, seed=seed, kinds=KINDS)


def steps_of(task: Task) -> int:
    return len(worked_out(parse_request(str(task.prompt)).slots[0]))


def shown(seed: int) -> list[Example]:
    """Replies to sums of two terms."""
    return demonstrations([t for t in sums(1000, seed + 31) if steps_of(t) == 1], seed, wrong=WRONG)


def accuracy(trained: LanguagePolicy, seed: int, n: int) -> Measures:
    """Share of right answers to held-out sums: of all, of two terms and of three."""
    asked = tasks(n, seed=seed, split="test", kinds=KINDS)
    said = trained.sample([t.prompt for t in asked], 1, SAMPLING, seed=seed).completions
    found = score(
        right, prompts=[t.prompt for t in asked], completions=said, answer=[t.columns["answer"] for t in asked]
    ).values
    apart = {
        f"terms/{k + 1}": [float(v) for v, t in zip(found, asked, strict=True) if steps_of(t) == k] for k in (1, 2)
    }
    return {"gold": float(found.mean()), **{k: sum(v) / max(1, len(v)) for k, v in apart.items()}}


def look(trained: LanguagePolicy, seed: int) -> Callable[[int], Measures]:
    def looked(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": accuracy(trained, seed, 100)["gold"]})

    return looked


def steered(seed: int, lr: float) -> Measures:
    trained = policy()
    algorithm = AMFT(
        trained,
        right,
        shown(seed),
        sums(300, seed + 77),
        rate=RATE,
        every=EVERY,
        batch=LOOK,
        warmup=WARMUP,
        group_size=GROUP,
        sampling=SAMPLING,
    )
    return _learned(trained, algorithm, STEPS, seed, lr)


def fixed(share: float, lr: float) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy()
        algorithm = AMFT(
            trained,
            right,
            shown(seed),
            mu=share,
            rate=0.0,
            pull=0.0,
            warmup=WARMUP,
            group_size=GROUP,
            sampling=SAMPLING,
        )
        return _learned(trained, algorithm, round(LONGER["share"] * STEPS), seed, lr)

    return arm


def in_turn(seed: int, lr: float) -> Measures:
    """Imitation, then exploration: of each as many steps and items as the others have of both together."""
    trained, steps = policy(), round(LONGER["in turn"] * STEPS)
    fit(
        Supervised(trained),
        shown(seed),
        steps=steps - WARMUP,
        batch_size=BATCH * GROUP,
        lr=lr,
        seed=luck(seed),
        progress=False,
        **CALM,
    )
    exploring = GRPO(trained, right, group_size=GROUP, sampling=SAMPLING, normalise="tokens")
    return _learned(trained, exploring, steps, seed, lr)


def _learned(trained: LanguagePolicy, algorithm: AMFT | GRPO, steps: int, seed: int, lr: float) -> Measures:
    train(algorithm, sums(1000, seed + 1), seed, steps=steps, batch_size=BATCH, lr=lr, evaluate=look(trained, seed))
    with metered():
        return {
            **accuracy(trained.eval(), seed, TESTS),
            "mu": algorithm.balance.mu if isinstance(algorithm, AMFT) else 0.0,
        }


MAKERS: dict[str, Maker] = {
    "in turn": lambda lr: partial(in_turn, lr=lr),
    **{f"share-{s}": partial(fixed, s) for s in SHARES},
    "amft": lambda lr: partial(steered, lr=lr),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, FASTER, only=[name for name in MAKERS if name != "share-0.8"])
