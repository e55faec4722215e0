"""55 RPO: does the small SFT term keep DPO from over-optimising few, noisy pairs?

DPO's beta and RPO's eta are each chosen from a grid of five, on other seeds, by fresh verdicts of the same people
on answers against the base's (never by the gold).
"""

import json
from collections.abc import Callable
from statistics import fmean

from accord.algorithms import DPO, RPO
from accord.engine import Rows, Step
from accord.engine.run import write_json
from accord.feedback import Comparison
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters import answers, kl, train, verdicts, watched
from accord.reproduce.luck import twin
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING

PAIRS, NOISE, STEPS, BATCH, LR, BETA = 160, 0.2, 80, 16, 2e-4, 0.1
BETAS, ETAS = (0.03, 0.1, 0.3, 1.0, 3.0), (0.005, 0.02, 0.1, 0.5, 2.0)
TUNED_ON = (1000, 1001, 1002)

CLAIM = Claim(
    name="rpo",
    world="letters",
    statement="On 160 pairs with a fifth of the verdicts random, after 8 epochs, RPO's gold is above DPO's, and the "
    "chosen answers have lost less log-probability.",
    primaries=(Primary("rpo", "dpo"), Primary("rpo", "dpo", measure="shift_chosen", delta=0.5)),
    arms=("dpo", "rpo"),
    equal=("dpo", "rpo"),
    settings=(
        ("pairs", f"{PAIRS}, noise {NOISE}, people without flaws"),
        ("dpo", f"beta by verdicts, of {BETAS}"),
        ("rpo", f"beta {BETA}, eta by verdicts, of {ETAS}"),
        ("steps x batch", f"{STEPS} x {BATCH}"),
        ("lr", f"{LR}, cosine"),
    ),
)


def dpo(trained: LanguagePolicy, beta: float) -> DPO:
    return DPO(trained, beta=beta)


def rpo(trained: LanguagePolicy, eta: float) -> RPO:
    return RPO(trained, beta=BETA, eta=eta)


Make = Callable[[LanguagePolicy, float], DPO | RPO]


def preferring(make: Make, grid: tuple[float, ...]) -> Arm:
    """The policy after training at the grid's best setting."""

    def arm(seed: int) -> Measures:
        setting = tuned(make, grid)
        trained = preferred(make, seed, setting)
        with metered():
            return {
                **answers(trained, seed),
                "kl": kl(trained, seed),
                "shift_chosen": shift(trained, seed),
                "setting": setting,
            }

    return arm


def preferred(make: Make, seed: int, setting: float) -> LanguagePolicy:
    """The policy that the seed's comparisons make at a setting."""
    trained = policy()
    train(
        make(trained, setting),
        comparisons(seed),
        seed,
        steps=STEPS,
        batch_size=BATCH,
        lr=LR,
        evaluate=watched(trained, seed),
    )
    return trained.eval()


def comparisons(seed: int) -> list[Comparison]:
    return verdicts(seed, PAIRS, noise=NOISE)


def tuned(make: Make, grid: tuple[float, ...]) -> float:
    """The grid's value with the best verdicts on the tuning seeds."""

    def search() -> float:
        with twin(0):
            return max(grid, key=lambda value: fmean(liked(preferred(make, s, value), s) for s in TUNED_ON))

    return kept(f"rpo setting {make.__name__} {grid}", 0, search, lambda found, folder: write_json(folder / "setting.json", found),
                lambda folder: float(json.loads((folder / "setting.json").read_text())))  # fmt: skip


def liked(trained: LanguagePolicy, seed: int) -> float:
    """Share of fresh verdicts for its answers against the base's, on training requests."""
    asked = tasks(300, seed=seed + 9)
    prompts = [t.prompt for t in asked]
    ours, theirs = (p.sample(prompts, 1, SAMPLING, seed=seed + 2).completions for p in (trained, policy()))
    said = population(20, seed=seed, noise=NOISE).compare(asked, ours, theirs, seed=seed + 4)
    return fmean(v.chosen == o if o != t else 0.5 for v, o, t in zip(said, ours, theirs, strict=True))


def shift(trained: LanguagePolicy, seed: int) -> float:
    """Mean change of the chosen answers' log-probability, nats an answer."""
    probe = DPO(trained, reference=policy().freeze("now"))
    return probe(probe.experience(Rows(comparisons(seed)), Step(0, 0))).metrics["shift_chosen"].value


ARMS = {
    "dpo": preferring(dpo, BETAS),
    "rpo": preferring(rpo, ETAS),
}


def at(make: Make, setting: float) -> Arm:
    """A point of a grid, by gold: what verdicts chose should be looked at beside it."""
    return lambda seed: answers(preferred(make, seed, setting), seed)


TUNING = {f"{make.__name__} {x:g}": at(make, x) for make, grid in ((dpo, BETAS), (rpo, ETAS)) for x in grid}
