"""Where rewards agree, and where they contradict each other most: those pairs are worth reading."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.intervals import Array, Bootstrap, right


@dataclass(frozen=True)
class Agreement:
    """Two rewards on the same pairs.

    Attributes:
        same: share of pairs, of those to which both apply, on which both prefer the same answer. correlation: of their leads' ranks.
        better: accuracy of the first less that of the second.
        disputed: numbers of the pairs on which both are surest of opposite answers, the worst first.
    """

    first: str
    second: str
    same: Estimate
    correlation: float
    better: Estimate
    disputed: list[int]

    def row(self) -> dict[str, Any]:
        return asdict(self)


def agreements(leads: Mapping[str, Float[Array, "n"]], clusters: Sequence[Any], most: int = 12) -> list[Agreement]:
    """Every two rewards that both apply to some pair.

    Args:
        leads: by reward, of the same pairs, NaN where it doesn't apply. most: disputed pairs to name.
    """
    found = []
    for (a, x), (b, y) in combinations(leads.items(), 2):
        rows: list[int] = np.flatnonzero(np.isfinite(x) & np.isfinite(y)).tolist()
        if not rows:
            continue
        x, y, boot = x[rows], y[rows], Bootstrap([clusters[i] for i in rows])
        # Mean leads apart, so that neither's unit counts: how sure the less sure of the two is.
        x_, y_ = x / (np.abs(x).mean() or 1.0), y / (np.abs(y).mean() or 1.0)
        against = np.where(x_ * y_ < 0, np.minimum(np.abs(x_), np.abs(y_)), 0.0)
        disputed = [rows[i] for i in np.argsort(-against, kind="stable")[:most] if against[i] > 0]
        same = boot.share((np.sign(x) == np.sign(y)).astype(float))
        found.append(Agreement(a, b, same, _ranks(x, y), boot.mean(right(x) - right(y)), disputed))
    return found


def _ranks(x: Float[Array, "n"], y: Float[Array, "n"]) -> float:
    from scipy.stats import spearmanr

    return 0.0 if not np.ptp(x) or not np.ptp(y) else float(spearmanr(x, y).statistic)
