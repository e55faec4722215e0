"""55 RPO: does the small SFT term keep DPO from over-optimising few, noisy pairs?

DPO's beta and RPO's eta are each chosen from a grid of three, on other seeds, by fresh verdicts of the same people
on answers against the base's (never by the gold).
"""

from collections.abc import Callable
from functools import lru_cache
from statistics import fmean

from accord.algorithms import DPO, RPO
from accord.engine import Rows, Step, fit
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import course
from accord.reproduce.letters import answers, kl, verdicts, watched
from accord.reproduce.luck import luck
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING

PAIRS, NOISE, STEPS, BATCH, LR, BETA = 160, 0.2, 80, 16, 3e-4, 0.1
BETAS, ETAS = (0.03, 0.1, 0.3), (0.005, 0.05, 0.2)
TUNING = (1000, 1001)
NO_FLAW: tuple[tuple[str, float], ...] = ()

CLAIM = Claim(
    name="rpo",
    world="letters",
    statement="On 160 pairs with a fifth of the verdicts random, after 8 epochs, RPO's gold is above DPO's, and the "
    "chosen answers have lost less log-probability.",
    primaries=(Primary("rpo", "dpo"), Primary("rpo", "dpo", measure="shift_chosen", delta=0.5)),
    arms=("dpo", "rpo"),
    equal=("dpo", "rpo"),
    settings=(("betas", str(BETAS)), ("etas", str(ETAS)), ("steps", str(STEPS)), ("lr", str(LR))),
)


def dpo(trained: LanguagePolicy, beta: float) -> DPO:
    return DPO(trained, beta=beta)


def rpo(trained: LanguagePolicy, eta: float) -> RPO:
    return RPO(trained, beta=BETA, eta=eta)


Make = Callable[[LanguagePolicy, float], DPO | RPO]


def preferring(make: Make, grid: tuple[float, ...]) -> Arm:
    """The policy after training at the grid's best setting."""

    def arm(seed: int) -> Measures:
        with metered(), course():
            setting = tuned(make, grid)
        trained = train(make, seed, setting)
        with metered():
            return {
                **answers(trained, seed),
                "kl": kl(trained, seed),
                "shift_chosen": shift(trained, seed),
                "setting": setting,
            }

    return arm


def train(make: Make, seed: int, setting: float) -> LanguagePolicy:
    trained = policy()
    fit(make(trained, setting), verdicts(seed, PAIRS, NO_FLAW, NOISE), steps=STEPS, batch_size=BATCH, lr=LR,
        seed=luck(seed), evaluate=watched(trained, seed), evaluate_every=STEPS // 4, progress=False)  # fmt: skip
    return trained.eval()


@lru_cache
def tuned(make: Make, grid: tuple[float, ...]) -> float:
    """The grid's value with the best verdicts on the tuning seeds."""
    return max(grid, key=lambda value: fmean(preferred(train(make, s, value), s) for s in TUNING))


def preferred(trained: LanguagePolicy, seed: int) -> float:
    """Share of fresh verdicts for its answers against the base's, on training requests."""
    asked = tasks(200, seed=seed + 9)
    prompts = [t.prompt for t in asked]
    ours, theirs = (p.sample(prompts, 1, SAMPLING, seed=seed + 2).completions for p in (trained, policy()))
    said = population(20, seed=seed, noise=NOISE).compare(asked, ours, theirs, seed=seed + 4)
    return fmean(v.chosen == o if o != t else 0.5 for v, o, t in zip(said, ours, theirs, strict=True))


def shift(trained: LanguagePolicy, seed: int) -> float:
    """Mean change of the chosen answers' log-probability, nats an answer."""
    probe = DPO(trained, reference=policy().freeze("now"))
    return (
        probe(probe.experience(Rows(verdicts(seed, PAIRS, NO_FLAW, NOISE)), Step(0, 0))).metrics["shift_chosen"].value
    )


ARMS = {
    "dpo": preferring(dpo, BETAS),
    "rpo": preferring(rpo, ETAS),
}
