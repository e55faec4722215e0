"""Means and other figures of pairs, with intervals that know which pairs belong together."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from accord.errors import FeedbackError
from accord.evaluation.accuracy import Estimate, wilson

Array = np.ndarray
LEAST = 20
"""Clusters below which draws of them show too little of what might be, and nothing is called a fault."""
Statistic = Callable[[Float[Array, "b n"]], Float[Array, "b"]]
"""A figure of some pairs, for each of b rows of weights of them."""


class Bootstrap:
    """Draws of whole clusters (pairs of one prompt are no independent evidence): 95 % percentile intervals of any statistic.

    Args:
        clusters: of each pair, what it shares with others. draws: how many.
    """

    def __init__(self, clusters: Sequence[Hashable], *, draws: int = 400, seed: int = 0) -> None:
        if not len(clusters):
            raise FeedbackError("nothing to measure on: no pairs are left")
        names = {c: i for i, c in enumerate(dict.fromkeys(clusters))}
        self.index, self.size = np.array([names[c] for c in clusters]), len(names)
        drawn = np.random.default_rng(seed).integers(0, self.size, (draws, self.size))
        self._counts = np.stack([np.bincount(row, minlength=self.size) for row in drawn]).astype(np.float32)

    def of(self, statistic: Statistic) -> Estimate:
        """A statistic of all pairs, and its interval over the draws (those where it is NaN are left out)."""
        n = len(self.index)
        value = float(statistic(np.ones((1, n), np.float32))[0])
        # In parts, so that memory doesn't grow with draws times pairs.
        step = max(1, 2_000_000 // n)
        parts = [statistic(self._counts[i : i + step][:, self.index]) for i in range(0, len(self._counts), step)]
        return Estimate(value, *_between(np.concatenate(parts)), n, self.size)

    def mean(self, x: Float[Array, "n"]) -> Estimate:
        """Mean of x where it is known (not NaN)."""
        known = ~np.isnan(x)
        found = self.ratio(np.where(known, x, 0.0), known.astype(float))
        return replace(found, n=int(known.sum()), clusters=len(set(self.index[known].tolist())))

    def share(self, x: Float[Array, "n"]) -> Estimate:
        """Mean of x in [0, 1]; of few clusters, or where all draws are the same, with Wilson's interval for so many clusters."""
        found = self.mean(x)
        if found.clusters >= LEAST and found.low < found.high:
            return found
        low, high = wilson(found.value, found.clusters)
        return replace(found, low=low, high=high)

    def ratio(self, x: Float[Array, "n"], y: Float[Array, "n"]) -> Estimate:
        """Sum of x over sum of y."""
        tops, bottoms = (np.bincount(self.index, v, self.size) for v in (x, y))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (self._counts @ tops) / (self._counts @ bottoms)
            value = float(np.sum(x) / np.sum(y))
        return Estimate(value, *_between(found), len(x), self.size)


def _between(found: Float[Array, "b"]) -> tuple[float, float]:
    found = found[~np.isnan(found)]
    if not len(found):
        return np.nan, np.nan
    # Between two draws lies nothing where one of them is infinite.
    low, high = np.quantile(found, [0.025, 0.975], method="linear" if np.isfinite(found).all() else "nearest")
    return float(low), float(high)


def right(leads: Float[Array, "n"]) -> Float[Array, "n"]:
    """1 where the chosen answer leads, half for a tie; NaN where it isn't known."""
    return np.where(np.isnan(leads), np.nan, (leads > 0) + 0.5 * (leads == 0))
