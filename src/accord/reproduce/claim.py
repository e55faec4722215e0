"""What a reproduction promises before it is run."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

Measures = dict[str, float]
Arm = Callable[[int], Measures]
"""Runs with a seed and measures; "gold" is what a verdict looks at unless a primary says otherwise."""

Outcome = Literal["better", "worse", "equal", "open"]
Says = Literal["better", "not worse", "equal"]

FEWEST, MOST = 6, 24
"""Seeds of a comparison; arms that no primary compares run on the fewest."""


@dataclass(frozen=True)
class Primary:
    """One comparison: treatment minus control on one measure, paired by seed, with the 95 % interval of a t test.

    It comes out *better* (the interval above the margin), *worse* (below 0), *equal* (inside ±delta) or *open*.

    Attributes:
        says: what the claim says of it. "not worse" is not worse by delta: the interval lies above -delta.
        measure: which of an arm's measures; `sign` -1 where less is better.
        margin: from where on it is better, at least 0.
        delta: the smallest difference worth having; None is the world's, which is one of gold and of its aspects.
    """

    treatment: str
    control: str
    says: Says = "better"
    measure: str = "gold"
    sign: int = 1
    margin: float = 0.0
    delta: float | None = None

    def __post_init__(self) -> None:
        if self.margin < 0 or (self.delta is not None and self.delta <= 0) or self.sign not in (-1, 1):
            raise ValueError(f"{self.name} wants margin >= 0, delta > 0 and a sign of 1 or -1")

    @property
    def name(self) -> str:
        over = f" by {self.margin:g}" if self.margin else ""
        return f"{self.treatment} {self.says}{over} {'as' if self.says == 'equal' else 'than'} {self.control} ({self.measure})"


@dataclass(frozen=True)
class Claim:
    """A committed claim; its hash goes into the result.

    The untrained base and the oracle are the world's ruler (`accord.reproduce.ruler`): a claim names an arm "base" only
    where a primary compares with it and it is another than the world's.

    Attributes:
        name: the system's, in the catalogue. world: whose ruler it is measured by, "letters", "portraits" or "room".
        statement: the claim in one sentence.
        primaries: the first is the main one.
        arms: all arms that run.
        equal: arms that get the same steps and samples; a treatment among them may use at most 1.1 times the compute of
            its control (a control may use more: a hacked policy rambles).
        seeds: of each comparison at least, counted from `first_seed`; a plan (`accord reproduce NAME --plan`) may want more
            for one or the other. A claim that was made anew after its seeds had been seen takes fresh ones (tuning uses
            seeds from 1000 on).
        collapses: for a claim on hacking, the plain arm whose gold must fall below the base's.
        settings: whatever else was fixed in advance (budgets, grids).
    """

    name: str
    world: str
    statement: str
    primaries: tuple[Primary, ...]
    arms: tuple[str, ...]
    equal: tuple[str, ...] = ()
    seeds: int = FEWEST
    first_seed: int = 400
    collapses: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        missing = sorted(({*self.compared, *self.equal} - {"base"}) - set(self.arms))
        if missing or not self.primaries:
            raise ValueError(f"claim {self.name} lacks arms {missing} or primaries")
        if not FEWEST <= self.seeds <= MOST:
            raise ValueError(f"claim {self.name} wants {FEWEST} to {MOST} seeds, not {self.seeds}")

    @property
    def compared(self) -> set[str]:
        """Arms that a primary compares, or that must fall."""
        collapse = {self.collapses, "base"} if self.collapses else set()
        return {a for p in self.primaries for a in (p.treatment, p.control)} | collapse

    def seeds_of(self, wanted: Mapping[str, int]) -> dict[str, range]:
        """Seeds of each arm: as many as the greediest of its comparisons wants, by the primaries' names."""
        most = dict.fromkeys(self.arms, FEWEST) | dict.fromkeys(self.compared, self.seeds)
        for p in self.primaries:
            for arm in (p.treatment, p.control):
                most[arm] = max(most[arm], wanted[p.name])
        return {arm: range(self.first_seed, self.first_seed + n) for arm, n in most.items()}

    def check(self, table: Mapping[str, Arm]) -> None:
        """Raise ValueError where a table of arms has not just those that are claimed."""
        odd = sorted(set(self.arms) ^ set(table))
        if odd:
            raise ValueError(f"claim {self.name} and its table of arms differ in {odd}")

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
