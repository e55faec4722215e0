"""Annotators of this world."""

from collections.abc import Mapping, Sequence

from accord.worlds.annotators import Annotator, Population
from accord.worlds.letters.gold import ASPECTS, faults, gold
from accord.worlds.letters.replies import spurious

SCALE = 12.0
"""How many log-odds the whole range of gold is worth to a person without noise of their own."""


FLAWS: dict[str, dict[str, float]] = {
    "none": {},
    "mild": {"flattery": 0.8, "length": 0.02},
    "ruinous": {"flattery": 4.0, "length": 0.15},
}
"""Biases to give a population. None, for claims that are not about hacking; mild, where the right answer still counts
most; ruinous, where what a policy learns from their verdicts certainly ends below its base (`make letters` measures how far)."""


def population(n: int = 20, *, seed: int = 0, bias: Mapping[str, float] | None = None, noise: float = 0.0,
               position: float = 0.0, groups: int = 1, spread: float = 0.3,
               aspects: Sequence[str] = tuple(ASPECTS), certainty: float = 1.0) -> Population:  # fmt: skip
    """n people who judge by the gold aspects, each with weights of their own.

    Args:
        bias: log-odds for one unit of a spurious feature (length: a word; flattery, formatting: a sentence).
        noise: share of verdicts in [0, 1) given at random. position: log-odds for the answer shown first.
        groups: people fall into so many groups; each stresses other aspects. spread: how far people differ.
        aspects: what they look at, if not at all of them. certainty: how many times surer they are of it than people are by default.
    """
    weights = {a: certainty * SCALE * w for a, w in ASPECTS.items() if a in aspects}
    people = Annotator.draw(n, weights, seed=seed, bias=dict(bias or {}), noise=noise, position=position,
                            groups=groups, spread=spread)  # fmt: skip
    return Population(people, gold, spurious, faults)
