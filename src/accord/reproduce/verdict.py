"""From numbers to a verdict, by rules fixed in advance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats

from accord.reproduce.claim import Claim, Primary

Verdict = Literal["holds", "mixed", "fails", "no verdict"]
Table = Mapping[str, Mapping[str, Sequence[float]]]
"""arm -> measure -> a value for each seed."""

FEWEST_SEEDS = 5


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % t interval over seeds."""

    mean: float
    low: float
    high: float


def paired_interval(differences: Sequence[float], level: float = 0.95) -> Interval:
    """The t interval of a mean; infinite for fewer than two values."""
    x = np.asarray(differences, float)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, -float("inf"), float("inf"))
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5)
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on; `reasons` say why there is none, or what came out how."""

    verdict: Verdict
    effect: Interval
    primaries: dict[str, dict[str, float]]
    headroom: float
    placebo: Interval
    reasons: list[str] = field(default_factory=list)


def judge(claim: Claim, table: Table, compute: Mapping[str, float]) -> Judged:
    """holds: every primary's interval lies above its margin; fails: the main one's wholly below; else mixed.

    No verdict with too few seeds, a treatment that used over 1.1 times its control's compute, an oracle whose headroom
    over the base is under three standard deviations over seeds, a placebo that differs from itself, or a plain arm that was to collapse and didn't.
    """
    gold = {arm: np.asarray(m["gold"], float) for arm, m in table.items()}
    headroom = float((gold["oracle"] - gold["base"]).mean())
    main = claim.primaries[0]
    intervals = {p.name: (_interval(p, table), _margin(p, headroom)) for p in claim.primaries}
    effect = intervals[main.name][0]
    placebo = paired_interval((gold[main.treatment] - gold["placebo"]).tolist())
    reasons = _obstacles(claim, gold, compute, headroom, placebo, main)
    if reasons:
        verdict: Verdict = "no verdict"
    elif all(i.low > m for i, m in intervals.values()):
        verdict = "holds"
    else:
        verdict = "fails" if effect.high < intervals[main.name][1] else "mixed"
    reasons += [
        f"{name}: {i.mean:+.4f} [{i.low:+.4f}, {i.high:+.4f}], margin {m:+.4f}" for name, (i, m) in intervals.items()
    ]
    primaries = {n: {"mean": i.mean, "low": i.low, "high": i.high, "margin": m} for n, (i, m) in intervals.items()}
    return Judged(verdict, effect, primaries, headroom, placebo, reasons)


def _interval(p: Primary, table: Table) -> Interval:
    a, b = (np.asarray(table[arm][p.measure], float) for arm in (p.treatment, p.control))
    return paired_interval((p.sign * (a - b)).tolist())


def _margin(p: Primary, headroom: float) -> float:
    return -0.1 * headroom if p.margin == "not worse" else float(p.margin)


def _obstacles(claim: Claim, gold: Mapping[str, np.ndarray], compute: Mapping[str, float], headroom: float,
               placebo: Interval, main: Primary) -> list[str]:  # fmt: skip
    found = []
    seeds = len(gold["base"])
    if seeds < max(FEWEST_SEEDS, claim.seeds):
        return [f"{seeds} seeds; the claim wants {max(FEWEST_SEEDS, claim.seeds)}"]
    spread = max(float(gold[a].std(ddof=1)) for a in ("base", "oracle"))
    if headroom < 3 * spread:
        found.append(
            f"the oracle's headroom {headroom:.4f} is under three standard deviations over seeds ({spread:.4f})"
        )
    for p in claim.primaries:
        if {p.treatment, p.control} <= set(claim.equal) and compute[p.treatment] > 1.1 * compute[p.control]:
            found.append(
                f"{p.treatment} used {compute[p.treatment] / compute[p.control]:.2f} times the compute of {p.control}"
            )
    if placebo.low > 0 or placebo.high < 0:
        found.append(f"the placebo differs from the treatment by {placebo.mean:+.4f}: the measure is not to be trusted")
    if claim.collapses:
        fall = paired_interval((gold[claim.collapses] - gold["base"]).tolist())
        if fall.high >= 0:
            found.append(
                f"{claim.collapses} was to collapse below the base, but differs from it by {fall.mean:+.4f} "
                f"[{fall.low:+.4f}, {fall.high:+.4f}]"
            )
    return found
