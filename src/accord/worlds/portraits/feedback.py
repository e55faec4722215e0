"""Simulated people who look at portraits: by their private gold, with their tastes and noise."""

from typing import Any

from accord.worlds.annotators import Annotator, Gold, Population
from accord.worlds.portraits.gold import gold
from accord.worlds.portraits.proxies import stacked

WEIGHTS = {"prompt": 4.0, "structure": 4.0}
"""Log-odds that a whole aspect is worth to the mean person; no comparison here wants a particular person."""


def population(n: int = 20, *, seed: int = 0, noise: float = 0.0, position: float = 0.0, groups: int = 1,
               spread: float = 0.3, bias: dict[str, float] | None = None, judge: Gold = gold, certainty: float = 1.0) -> Population:  # fmt: skip
    """n people who compare pictures of a prompt; `bias` towards a spurious feature ("brightness", "contrast") in log-odds.

    Args:
        judge: what they hold privately, the gold of portraits or one that wants more than prompts say.
        certainty: multiplies the log-odds; at 1 a wish more of four is liked in three verdicts of four.
    """
    weights = {a: certainty * w for a, w in WEIGHTS.items()}
    people = Annotator.draw(
        n, weights, seed=seed, bias=bias or {}, noise=noise, position=position, groups=groups, spread=spread
    )
    return Population(people, judge, spurious)


def spurious(completions: Any) -> dict[str, list[float]]:
    """What the truth doesn't care for: mean brightness, and contrast, of each picture."""
    images = stacked(completions)
    return {"brightness": images.mean((1, 2, 3)).tolist(), "contrast": images.std((1, 2, 3)).tolist()}
