"""Feedback in this world: what its people say of the base policy's answers, and rewards learned from that."""

from accord.feedback import Comparison
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import BradleyTerry
from accord.rewards.fitting import FitOptions
from accord.worlds.annotators import Population
from accord.worlds.letters.model import WEIGHTS
from accord.worlds.letters.tasks import tasks

SAMPLING = Sampling(max_new_tokens=48)
LONG = Sampling(max_new_tokens=96)
"""For requests of the kinds in `MORE`, whose replies are longer."""


def comparisons(
    policy: LanguagePolicy, people: Population, n: int, *, seed: int, context: str | None = None
) -> list[Comparison]:
    """n verdicts on pairs of the policy's own answers to training requests."""
    asked = tasks(n, seed=seed)
    drawn = policy.sample([t.prompt for t in asked], 2, SAMPLING, seed=seed)
    return people.compare(asked, drawn.completions[0::2], drawn.completions[1::2], seed=seed, context=context)


def reward_model(records: list[Comparison], *, seed: int = 0, source: object = WEIGHTS, centre: float = 0.01, epochs: float = 3,
                 lr: float = 1e-3, out: str | None = None, progress: bool = False) -> BradleyTerry:  # fmt: skip
    """A Bradley-Terry model on the base LM's trunk."""
    reward = BradleyTerry.load(source)
    return BradleyTerry.fit(records, reward, options=FitOptions(centre=centre), out=out, epochs=epochs, batch_size=32, lr=lr,
                            schedule="cosine", warmup=0.05, seed=seed, progress=progress).eval()  # fmt: skip
