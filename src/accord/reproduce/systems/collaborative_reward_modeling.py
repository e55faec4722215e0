"""45 CRM: with 40 % of the labels wrong, is a reward better that learns from what a peer trusts than two that learn from everything?

The control that reviewers of the paper missed is here: two plain models, whose mean costs the same. All are heads on words; each arm passes over the data
as often as suits it best.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from accord.engine import fit
from accord.feedback import Comparison
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_labels import LEARNING, asked, head, ranked, right, taught, turned
from accord.reproduce.luck import luck
from accord.rewards import CollaborativeRewardModeling, Ensemble, Reward
from accord.rewards.fitting import FitOptions
from accord.worlds.letters import population

REQUESTS, NOISE, WARM, WINDOW = 1500, 0.4, 2.0, 12
PASSES = {"plain": 10, "ensemble": 10, "smoothed": 5, "self": 20, "no-curriculum": 20, "crm": 40}
GRID = (5, 10, 20, 40)

CLAIM = Claim(
    name="collaborative-reward-modeling",
    world="letters",
    statement=f"With {NOISE:.0%} of labels turned round, the mean of two rewards that review each other's data ranks held-out answers better than the mean of two "
    "that learn from everything, than one such (of half the size), and than two that choose for themselves.",
    primaries=(
        Primary("crm", "ensemble", measure="accuracy", delta=0.02),
        Primary("crm", "plain", measure="accuracy", delta=0.02),
        Primary("crm", "self", measure="accuracy", delta=0.02),
    ),
    seeds=24,
    first_seed=430,
    arms=("clean", "plain", "ensemble", "smoothed", "self", "no-curriculum", "crm"),
    settings=(("pairs", str(REQUESTS)), ("labels turned round", str(NOISE)), ("passes", f"{PASSES}, each of {GRID}"), ("compute", "of the mean that reviews four times that of the mean that doesn't, by their passes"), ("learning", str(LEARNING)),
              ("share left out", f"{NOISE} after {WARM} passes, by batch"), ("curriculum", f"shuffled over {WINDOW} batches")),
)  # fmt: skip

Learn = Callable[[Sequence[Comparison], int, int], tuple[Reward, Measures]]
"""From labels, a seed and passes to a reward, and what else is measured of it."""


def labels(seed: int, noise: float) -> list[Comparison]:
    """Sure people's verdicts, of which a share was turned round."""
    return turned(
        population(20, seed=seed, certainty=3.0).compare(*asked(seed, REQUESTS).shown(), seed=seed), noise, seed
    )


def arm(learn: Learn, passes: int, noise: float = NOISE) -> Arm:
    def run(seed: int) -> Measures:
        with metered():
            told = labels(seed, noise)
        reward, more = learn(told, seed, passes)
        return {**ranked(reward, seed), **more}

    return run


def plain(told: Sequence[Comparison], seed: int, passes: int) -> tuple[Reward, Measures]:
    return taught(told, seed, epochs=passes), {}


def ensemble(told: Sequence[Comparison], seed: int, passes: int) -> tuple[Reward, Measures]:
    return Ensemble([taught(told, seed, epochs=passes, number=i) for i in range(2)]), {}


def smoothed(told: Sequence[Comparison], seed: int, passes: int) -> tuple[Reward, Measures]:
    return head(seed).fitted(told, FitOptions(label_smoothing=NOISE), epochs=passes, seed=luck(seed), **LEARNING), {}


def reviewing(told: Sequence[Comparison], seed: int, passes: int, **options: Any) -> tuple[Reward, Measures]:
    one, other = (head(seed, number=i) for i in range(2))
    learner = CollaborativeRewardModeling(one, other, told, noise=NOISE, warm=WARM, window=WINDOW, **options)
    fit(learner, learner.pairs, epochs=passes, seed=luck(seed), progress=False, **LEARNING)
    gone, wrong = ~learner.picked.any(0), right(told) == 0
    return learner.both, {
        "dropped": float(gone.float().mean()),
        "dropped rightly": float(wrong[gone].float().mean()),
        "found": float(gone[wrong].float().mean()),
    }


HOW: dict[str, Learn] = {
    "plain": plain,
    "ensemble": ensemble,
    "smoothed": smoothed,
    "self": partial(reviewing, review="self"),
    "no-curriculum": partial(reviewing, curriculum=False),
    "crm": reviewing,
}
ARMS = {
    "clean": arm(plain, PASSES["plain"], noise=0.0),
    **{name: arm(learn, PASSES[name]) for name, learn in HOW.items()},
}
TUNING = {f"{name} {n} passes": arm(learn, n) for name, learn in HOW.items() for n in GRID}
