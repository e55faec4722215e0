"""Does a lead say how sure one may be? The chosen answer should win with probability ``s(lead)``."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.intervals import Array, Bootstrap, right

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Verdicts of about the same confidence: what the reward says of them, and how many were right."""

    confidence: float
    right: Estimate


@dataclass(frozen=True)
class Calibration:
    """Attributes:
    ece: expected calibration error, mean over bins of equal size of |confidence - share right|.
    ece_by_chance: what it would be for these confidences, if they were exactly right.
    brier: mean of ``(1 - s(lead))^2``; 0.25 for who knows nothing.
    temperature: T for which ``s(lead/T)`` is likeliest; above 1 the reward is surer than it may be. None where it may
        rank no better than chance: no temperature mends that.
    ece_fitted: with T of one half of the clusters, on the other.
    """

    ece: Estimate
    ece_by_chance: float
    brier: Estimate
    temperature: Estimate | None
    ece_fitted: float | None
    bins: list[Bin]

    def row(self) -> dict[str, Any]:
        return asdict(self)


def calibration(leads: Float[Array, "n"], clusters: Sequence[Hashable], *, seed: int = 0) -> Calibration:
    """How well leads are calibrated (Guo et al. 2017, arXiv 1706.04599, with verdicts in the place of classes)."""
    boot = Bootstrap(clusters, seed=seed)
    surety = sigmoid(np.abs(leads))
    order = np.array_split(np.argsort(surety, kind="stable"), min(BINS, len(leads)))
    gap = right(leads) - surety
    random = np.random.default_rng(seed)
    chance = [_error(((random.random(len(leads)) < surety) - surety)[None], order)[0] for _ in range(100)]
    fits = boot.of(lambda w: temperature(leads, w))
    return Calibration(
        ece=boot.of(lambda w: _error(gap[None] * w, order) / (w.sum(-1) / len(leads))),
        ece_by_chance=float(np.mean(chance)),
        brier=boot.mean((1 - sigmoid(leads)) ** 2),
        temperature=fits if np.isfinite([fits.value, fits.low, fits.high]).all() else None,
        ece_fitted=_fitted(leads, boot.index),
        bins=[Bin(float(surety[rows].mean()), Bootstrap([clusters[i] for i in rows], draws=200, seed=seed).share(right(leads)[rows]))
              for rows in order],
    )  # fmt: skip


def temperature(leads: Float[Array, "n"], weights: Float[Array, "b n"]) -> Float[Array, "b"]:
    """The T that makes these verdicts likeliest, for each row of weights; infinite where leads say nothing.

    Newton's steps on the convex ``mean softplus(-a lead)``, a = 1/T, of leads in units of their mean size; where all verdicts are right,
    the best T is 0, and a small one is told.
    """
    size = np.abs(leads).mean()
    if not size:
        return np.full(len(weights), np.inf)
    x, a = leads / size, np.zeros((len(weights), 1))
    for _ in range(25):
        p = sigmoid(-a * x)
        slope = (weights * p * x).sum(-1, keepdims=True)
        bend = (weights * p * (1 - p) * x**2).sum(-1, keepdims=True) + 1e-12
        step = np.clip(slope / bend, -2, 2)
        a = a + step
        if np.abs(step).max() < 1e-9:
            break
    with np.errstate(divide="ignore"):
        return np.where(a[:, 0] > 1e-6, size / np.maximum(a[:, 0], 1e-12), np.inf)


def sigmoid(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _error(gaps: Float[Array, "b n"], order: Sequence[Array]) -> Float[Array, "b"]:
    """Of gaps between what was right and how sure one was: mean over all of each bin's absolute mean."""
    return sum(np.abs(gaps[:, rows].sum(-1)) for rows in order) / gaps.shape[-1]


def _fitted(leads: Float[Array, "n"], index: Array) -> float | None:
    parts = [index % 2 == 0, index % 2 == 1]
    if any(p.sum() < BINS for p in parts):
        return None
    found = []
    for train, test in (parts, parts[::-1]):
        t = temperature(leads[train], np.ones((1, int(train.sum()))))[0]
        surety = sigmoid(np.abs(leads[test]) / t)
        order = np.array_split(np.argsort(surety, kind="stable"), BINS)
        found.append(_error((right(leads[test]) - surety)[None], order)[0])
    return float(np.mean(found))
