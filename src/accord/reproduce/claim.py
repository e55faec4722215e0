"""What a reproduction promises before it is run."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Measures = dict[str, float]
Arm = Callable[[int], Measures]
"""Runs with a seed and measures; "gold" is what a verdict looks at unless a primary says otherwise."""


@dataclass(frozen=True)
class Primary:
    """One comparison that must come out: treatment minus control, paired by seed, above the margin.

    Attributes:
        margin: a number, or "not worse": minus a tenth of the headroom.
        measure: which of an arm's measures; `sign` -1 where less is better.
    """

    treatment: str
    control: str
    margin: float | str = 0.0
    measure: str = "gold"
    sign: int = 1

    @property
    def name(self) -> str:
        over = "" if self.margin == 0.0 else f" over {self.margin}"
        return f"{self.treatment} - {self.control} ({self.measure}){over}"


@dataclass(frozen=True)
class Claim:
    """A committed claim; its hash goes into the result.

    Attributes:
        name: the system's, in the catalogue. statement: the claim in one sentence.
        primaries: the first is the main one.
        arms: all arms that run; among them "base" (untrained), "oracle" (trained on gold) and "placebo" (the main
            treatment again with other randomness).
        equal: arms that get the same steps and samples; a treatment among them may use at most 1.1 times the compute of
            its control (a control may use more: a hacked policy rambles).
        seeds: how many, counted from `first_seed`; a claim that was made anew after its seeds had been seen takes fresh ones
            (tuning, where there is any, uses seeds from 1000 on).
        collapses: for a claim on hacking, the plain arm whose gold must fall below the base's.
        settings: whatever else was fixed in advance (budgets, grids).
    """

    name: str
    statement: str
    primaries: tuple[Primary, ...]
    arms: tuple[str, ...]
    equal: tuple[str, ...]
    seeds: int = 5
    first_seed: int = 100
    collapses: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        used = {a for p in self.primaries for a in (p.treatment, p.control)} | set(self.equal)
        missing = sorted((used | {"base", "oracle", "placebo"}) - set(self.arms))
        if missing or not self.primaries:
            raise ValueError(f"claim {self.name} lacks arms {missing} or primaries")

    def check(self, table: Mapping[str, Arm]) -> None:
        """Raise ValueError where a table of arms has not just those that are claimed."""
        odd = sorted(set(self.arms) ^ set(table))
        if odd:
            raise ValueError(f"claim {self.name} and its table of arms differ in {odd}")

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
