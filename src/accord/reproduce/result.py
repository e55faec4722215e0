"""What a reproduction leaves: numbers, a verdict, and what they were made by."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from accord.catalogue import find
from accord.engine.run import versions
from accord.reproduce.claim import Claim
from accord.reproduce.runs import Job
from accord.reproduce.verdict import judge


@dataclass(frozen=True)
class Result:
    """What lies at reproductions/NAME.json.

    Attributes:
        measures: arm -> measure -> a value for each of its first seeds. wanted: seeds of each primary. delta: the world's. effect, interval: of the main primary.
        confirmed: source hashes of earlier code, the first being that of the runs; see `accord.reproduce.harness.confirm`.
    """

    number: int
    name: str
    claim: dict[str, Any]
    claim_hash: str
    source_hash: str
    seeds: list[int]
    compute: dict[str, float]
    measures: dict[str, dict[str, list[float]]]
    wanted: dict[str, int]
    delta: float | None
    effect: float
    interval: tuple[float, float]
    primaries: dict[str, dict[str, float | str]]
    verdict: str
    obstacles: list[str]
    seconds: float
    versions: dict[str, str]
    confirmed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, claim: Claim, jobs: Sequence[Job], delta: float | None, wanted: dict[str, int]) -> "Result":
        """From finished runs of the claim's arms, by the rules."""
        runs: dict[str, list[Job]] = {}
        for job in jobs:
            runs.setdefault(job.arm, []).append(job)
        measures = {
            arm: {m: [j.found["measures"][m] for j in done] for m in done[0].found["measures"]}
            for arm, done in runs.items()
        }
        compute = {arm: statistics.fmean(j.found["compute"] for j in done) for arm, done in runs.items()}
        judged = judge(claim, measures, compute, delta, wanted)
        main = next(iter(judged.primaries.values())).interval
        return cls(
            number=find(claim.name).number or 0, name=claim.name, claim=asdict(claim), claim_hash=claim.hash,
            source_hash=next(j.source for j in jobs if j.arm == claim.primaries[0].treatment),
            seeds=sorted({j.seed for j in jobs}), compute=compute, measures=measures, wanted=wanted, delta=delta,
            effect=main.mean,
            interval=(main.low, main.high), primaries={n: d.row() for n, d in judged.primaries.items()},
            verdict=judged.verdict, obstacles=judged.obstacles, seconds=sum(j.found["seconds"] for j in jobs),
            versions=versions(),
        )  # fmt: skip
