"""From numbers to a verdict, by rules fixed in advance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats

from accord.reproduce.claim import Claim, Outcome, Primary

Verdict = Literal["holds", "in part", "fails", "open"]
Came = Literal["as said", "otherwise", "open"]
Table = Mapping[str, Mapping[str, Sequence[float]]]
"""arm -> measure -> a value for each seed."""

COMPUTE = 1.1
"""So many times its control's compute a treatment may use."""


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % t interval over seeds."""

    mean: float
    low: float
    high: float

    def outcome(self, delta: float, margin: float = 0.0) -> Outcome:
        """What it says: of intervals that do for two outcomes, the first of better, worse and equal."""
        if self.low > margin:
            return "better"
        if self.high < 0:
            return "worse"
        return "equal" if -delta < self.low and self.high < delta else "open"

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def paired_interval(differences: Sequence[float], level: float = 0.95) -> Interval:
    """The t interval of a mean; infinite for fewer than two values."""
    x = np.asarray(differences, float)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, -float("inf"), float("inf"))
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5)
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Decided:
    """How a primary came out, and what the claim makes of it."""

    interval: Interval
    delta: float
    outcome: Outcome
    came: Came

    def row(self) -> dict[str, float | str]:
        """As a result keeps it."""
        i = self.interval
        return {"mean": i.mean, "low": i.low, "high": i.high, "delta": self.delta, "outcome": self.outcome, "came": self.came}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on; obstacles say why it has to stay open."""

    verdict: Verdict
    primaries: dict[str, Decided]
    obstacles: list[str] = field(default_factory=list)


def judge(claim: Claim, table: Table, compute: Mapping[str, float], delta: float | None = None,
          wanted: Mapping[str, int] | None = None) -> Judged:  # fmt: skip
    """holds: every primary comes out as the claim says; in part: the main one does; fails: the main one comes out
    otherwise; open: the main one is open, or an obstacle stands (see `_obstacles`).

    Args:
        table: "base" among its arms where the claim names an arm that collapses.
        compute: of each arm. delta: the world's, for primaries that don't name their own.
        wanted: seeds of each primary; None as many as the claim says.

    Raises:
        ValueError: there is no delta for a primary.
    """
    found = {p.name: decide(p, differences(p, table), delta) for p in claim.primaries}
    obstacles = _obstacles(claim, table, compute, wanted or {})
    came = [d.came for d in found.values()]
    if obstacles or came[0] == "open":
        return Judged("open", found, obstacles)
    if came[0] == "otherwise":
        return Judged("fails", found)
    return Judged("holds" if set(came) == {"as said"} else "in part", found)


def decide(p: Primary, values: Sequence[float], delta: float | None) -> Decided:
    """How a primary comes out, from the differences of its seeds.

    "As said" asks for the interval that the claim names, so that one between 0 and delta confirms each of better, equal
    and not worse, and one between -delta and 0 each of worse, equal and not worse.
    """
    least = p.delta if p.delta is not None else delta
    if least is None:
        raise ValueError(f"{p.name} names no delta, and there is none of its world")
    interval = paired_interval(values)
    outcome = interval.outcome(least, p.margin)
    said = {
        "better": outcome == "better",
        "not worse": interval.low > -least,
        "equal": -least < interval.low and interval.high < least,
    }[p.says]
    return Decided(interval, least, outcome, "as said" if said else "open" if outcome == "open" else "otherwise")


def differences(p: Primary, table: Table) -> list[float]:
    """Treatment minus control, a value for each seed that both have (all begin with the claim's first)."""
    pairs = zip(table[p.treatment][p.measure], table[p.control][p.measure], strict=False)
    return [p.sign * (a - b) for a, b in pairs]


def _obstacles(claim: Claim, table: Table, compute: Mapping[str, float], wanted: Mapping[str, int]) -> list[str]:
    """Too few seeds; a treatment that used over 1.1 times its control's compute; a plain arm that was to fall and didn't."""
    found = []
    for p in claim.primaries:
        seeds, least = len(differences(p, table)), wanted.get(p.name, claim.seeds)
        if seeds < least:
            found.append(f"{seeds} seeds of {p.name!r}, which wants {least}")
        if {p.treatment, p.control} <= set(claim.equal) and compute[p.treatment] > COMPUTE * compute[p.control]:
            times = compute[p.treatment] / compute[p.control]
            found.append(f"{p.treatment} used {times:.2f} times the compute of {p.control}")
    if claim.collapses:
        fall = paired_interval(differences(Primary(claim.collapses, "base"), table))
        if not fall.high < 0:
            found.append(f"{claim.collapses} was to fall below the base, but differs from it by {fall}")
    return list(dict.fromkeys(found))
