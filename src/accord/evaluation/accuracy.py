"""Shares with honest intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from accord.errors import FeedbackError


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval and what it was counted over."""

    value: float
    low: float
    high: float
    n: int
    clusters: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}] (n = {self.n})"

    def row(self) -> dict[str, float]:
        return asdict(self)


def accuracy(differences: Float[Tensor, "n"], clusters: Sequence[Hashable] | None = None, *, seed: int = 0) -> Estimate:
    """Share of pairs whose chosen answer scores higher; a tie counts half.

    Args:
        differences: score of the chosen minus score of the rejected.
        clusters: which pairs belong together (same prompt); the interval is then a bootstrap over clusters, since
            pairs of one prompt are no independent evidence. Without, Wilson's interval.
    """
    right = ((differences > 0).double() + 0.5 * (differences == 0).double()).numpy()
    return _share(right, clusters, seed)


def win_rate(ours: Float[Tensor, "n"], theirs: Float[Tensor, "n"], *, seed: int = 0) -> Estimate:
    """Share of prompts on which ours scores higher; a tie counts half."""
    return accuracy(ours - theirs, seed=seed)


def _share(x: np.ndarray, clusters: Sequence[Hashable] | None, seed: int) -> Estimate:
    n = len(x)
    if not n:
        raise FeedbackError("nothing to measure on: the held-out part is empty (give more data or a larger test share)")
    if clusters is None:
        low, high = wilson(float(x.mean()), n)
        return Estimate(float(x.mean()), low, high, n, n)
    names = {c: i for i, c in enumerate(dict.fromkeys(clusters))}
    index = np.array([names[c] for c in clusters])
    total, count = np.bincount(index, x), np.bincount(index)
    draws = np.random.default_rng(seed).integers(0, len(names), (2000, len(names)))
    shares = total[draws].sum(1) / count[draws].sum(1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return Estimate(float(x.mean()), float(low), float(high), n, len(names))


def wilson(p: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share p of n."""
    centre, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    # p lies in it, but for the rounding where p is 0 or 1 and ends it.
    return min(p, (centre - half) / (1 + z * z / n)), max(p, (centre + half) / (1 + z * z / n))
