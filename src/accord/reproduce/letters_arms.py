"""The arm of most reproductions on letters: a fresh policy that learns, watched, and is measured at its end."""

from collections.abc import Callable, Sequence
from typing import Any

from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Measures
from accord.reproduce.letters import answers, kl, train, watched
from accord.worlds.letters import policy

RATES, FASTER = (5e-5, 1e-4, 2e-4), (1e-4, 2e-4, 5e-4)
"""Learning rates among which those of treatment and control are chosen, each by gold on tuning seeds; faster ones where a reward teaches."""

Measure = Callable[[LanguagePolicy, int], Measures]
"""What is measured of a policy with a seed, outside the arm's compute."""


def answers_and_kl(trained: LanguagePolicy, seed: int) -> Measures:
    """Gold of its answers to held-out requests, and how far it went."""
    return {**answers(trained, seed), "kl": kl(trained, seed)}


def learned(make: Callable[[LanguagePolicy, int], Any], data: Callable[[int], Sequence[Any]], *, measure: Measure = answers_and_kl,
            watch: Callable[[LanguagePolicy, int], Callable[[int], Measures]] = watched, **training: Any) -> Arm:  # fmt: skip
    """The policy after what `make` makes of it has learned from the seed's data.

    Args:
        training: as for `accord.reproduce.letters.train`.
    """

    def arm(seed: int) -> Measures:
        trained = policy()
        train(make(trained, seed), data(seed), seed, evaluate=watch(trained, seed), **training)
        with metered():
            return measure(trained.eval(), seed)

    return arm
