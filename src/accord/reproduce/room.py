"""What the reproductions in the room share: training, measuring by the gold, the ruler."""

from statistics import fmean
from typing import Any

from accord.algorithms import BARFI
from accord.engine import fit
from accord.policies.control import ControlPolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Measures
from accord.reproduce.course import note
from accord.reproduce.luck import luck
from accord.rewards import Reward
from accord.worlds.room import gold, policy, starts, toward
from accord.worlds.room.places import SUCCESS

STEPS, BATCH, EVERY, LR = 192, 32, 4, 1e-2
"""Updates of a policy, episodes at a time, updates by them, learning rate."""

TESTS, WATCHED = 300, 100
"""Episodes at the end of a run, and on its way."""

CALM: dict[str, Any] = {"schedule": "cosine"}
"""Training under which a run's twin ends near it."""


def train(
    algorithm: Any, trained: ControlPolicy, seed: int, *, steps: int = STEPS, lr: float = LR, **training: Any
) -> Measures:
    """Fit, watched, then measured; "earned" is the mean of what was paid in all episodes of which it learned."""

    def look(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": crossed(trained, seed, WATCHED)["gold"]})

    run = fit(algorithm, starts(BATCH), steps=steps, batch_size=BATCH, lr=lr, seed=luck(seed), progress=False, evaluate=look,
              evaluate_every=max(1, steps // 6), **{**CALM, **training})  # fmt: skip
    with metered():
        found = crossed(trained, seed)
    return {**found, "earned": fmean(r["return"] for r in run.metrics if "return" in r) / SUCCESS}


def crossed(trained: ControlPolicy, seed: int, n: int = TESTS) -> Measures:
    """Gold and its aspects of n fresh episodes."""
    said = gold(completions=trained.sample([t.prompt for t in starts(1)], n, seed=seed).completions)
    return {"gold": float(said.values.mean()), **{a: float(v.mean()) for a, v in said.aspects.items()}}


def reinforced(reward: Reward, *, lr: float = LR, steps: int = STEPS, **options: Any) -> Arm:
    """REINFORCE on what the room pays and this: BARFI that stays in its warm-up."""

    def arm(seed: int) -> Measures:
        trained = policy(luck(seed))
        return train(
            BARFI(trained, reward, every=EVERY, warmup=steps, seed=luck(seed), **options),
            trained,
            seed,
            steps=steps,
            lr=lr,
        )

    return arm


def base(seed: int) -> Measures:
    """The untrained policy."""
    return crossed(policy(seed), seed)


ARMS: dict[str, Arm] = {
    "base": base,
    "oracle": reinforced(toward, steps=2 * STEPS),
    "null": reinforced(toward, steps=STEPS // 4),
}
"""Of the world itself: its ruler (the oracle learns twice as long, helped by a designer who was right), and a run of a method by whose twins
the harness is tested."""
