"""Learning rates: a claim's arms, each at its own, chosen from arms for tuning, each at several."""

from collections.abc import Callable, Mapping, Sequence

from accord.reproduce.claim import Arm

Maker = Callable[[float], Arm]
"""Of an arm, by its learning rate."""


def at_best(makers: Mapping[str, Maker], best: Mapping[str, float]) -> dict[str, Arm]:
    """A claim's arms, each at its own rate."""
    return {name: make(best[name]) for name, make in makers.items()}


def at_rates(makers: Mapping[str, Maker], rates: Sequence[float], only: Sequence[str] = ()) -> dict[str, Arm]:
    """For tuning: each arm, or only these, at each of the rates; "name rate"."""
    return {f"{name} {lr:g}": makers[name](lr) for name in only or makers for lr in sorted(rates)}
