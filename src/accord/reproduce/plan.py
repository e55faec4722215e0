"""How many seeds a claim needs, from runs on tuning seeds: so many that its intervals will be no wider than ±delta/2."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from accord.catalogue import results_folder
from accord.errors import ConfigError
from accord.reproduce.claim import FEWEST, MOST, Claim, Primary
from accord.reproduce.committed import commit
from accord.reproduce.harness import System
from accord.reproduce.runs import Job, Say, run_all
from accord.reproduce.verdict import judge

FIRST_SEED, SEEDS = 1000, 6
PROCESSES = 2
PEAK = 0.9
"""Share of the best gold on its way that a calm run keeps."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """How a paired difference scatters.

    Attributes:
        mean: the difference itself: a lead, no result. sd: over the seeds of a claim, each run once.
        twins: the part of the sd that is luck alone; None where no run had a twin.
    """

    mean: float
    sd: float
    twins: float | None

    @classmethod
    def of(cls, differences: Floats) -> "Spread":
        """From [seeds, twins]: the variance between the means of seeds, and what a single run has more than those (Satterthwaite)."""
        n, k = differences.shape
        means = float(differences.mean(1).var(ddof=1))
        within = float(differences.var(1, ddof=1).mean()) if k > 1 else 0.0
        rest = within * (1 - 1 / k)  # of one run, that the mean of k has no more
        total = means + rest
        doubt = means**2 / (n - 1) + rest**2 / max(1, n * (k - 1))
        sd = math.sqrt(total) / _shrinks(1 + total**2 / doubt) if total else 0.0
        return cls(float(differences.mean()), sd, math.sqrt(within) if k > 1 else None)

    def half(self, n: int) -> float:
        """Expected half width of the 95 % interval of n seeds."""
        return float(stats.t.ppf(0.975, n - 1)) * _shrinks(n) * self.sd / math.sqrt(n)

    def seeds(self, delta: float) -> int:
        """The fewest seeds that decide: expected half width at most delta / 2; the most where none does."""
        return next((n for n in range(FEWEST, MOST + 1) if self.half(n) <= delta / 2), MOST)


def _shrinks(n: float) -> float:
    """Mean of the standard deviation of n normal values, where it is 1 in truth."""
    return math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))


def make_plan(
    system: System, *, twins: int = 1, processes: int = PROCESSES, say: Say = lambda text: None
) -> dict[str, Any]:
    """Run what the claim compares on tuning seeds, and put into reproductions/plans.json how many seeds it takes.

    Args:
        twins: runs of each arm and seed; with 3 one sees how much of the scatter is luck.

    Raises:
        ConfigError: the claim's own seeds have been seen.
    """
    claim, delta = system.claim, system.delta
    _unseen(system)
    arms = sorted(claim.compared)
    numbers = range(FIRST_SEED, FIRST_SEED + SEEDS)
    jobs = system.jobs(numbers, arms, twins=range(twins))
    run_all(jobs, processes=processes, say=lambda text: say(f"{claim.name} plan {text}"))
    runs = {arm: [j for j in jobs if j.arm == arm] for arm in arms}
    primaries = {p.name: _row(p, runs, twins, p.delta or delta) for p in claim.primaries}
    seconds = {arm: statistics.fmean(j.found["seconds"] for j in found) for arm, found in runs.items()}
    signs = {arm: _signs(found) for arm, found in runs.items()}
    plan = {"claim": claim.hash, "source": system.source, "primaries": primaries, "arms": signs,
            "warnings": [*_obstacles(claim, runs, delta), *_warnings(primaries, signs, delta)]}  # fmt: skip
    commit("plans", claim.name, plan)
    return {**plan, "minutes": _minutes(system, seconds)}


def _row(p: Primary, runs: dict[str, list[Job]], twins: int, delta: float | None) -> dict[str, Any]:
    a, b = (np.array([j.found["measures"][p.measure] for j in runs[arm]]).reshape(-1, twins) for arm in (p.treatment, p.control))  # fmt: skip
    spread = Spread.of(p.sign * (a - b))
    assert delta is not None
    n = spread.seeds(delta)
    return {"mean": spread.mean, "sd": spread.sd, "twins": spread.twins, "delta": delta, "seeds": n,
            "half": {str(k): spread.half(k) for k in range(FEWEST, MOST + 1)}, "decides": spread.half(n) <= delta / 2}  # fmt: skip


def _signs(runs: Sequence[Job]) -> dict[str, float | None]:
    """Of an arm's calm: how far twins end apart, how its gold stands to its start and to its peak, how often it broke."""
    gold: dict[int, list[float]] = {}
    for job in runs:
        gold.setdefault(job.seed, []).append(job.found["measures"]["gold"])
    courses = [[r["reward/gold"] for r in j.found["course"] if "reward/gold" in r] for j in runs]
    courses = [c for c in courses if len(c) > 1]
    luck = [statistics.variance(g) for g in gold.values() if len(g) > 1]
    return {
        "gold": statistics.fmean(j.found["measures"]["gold"] for j in runs),
        "twins": math.sqrt(statistics.fmean(luck)) if luck else None,
        "change": statistics.fmean(c[-1] - c[0] for c in courses) if courses else None,
        "of peak": statistics.fmean(c[-1] / max(c) if max(c) > 0 else 1.0 for c in courses) if courses else None,
        "broke": sum(c[-1] < c[0] / 2 for c in courses),
        "runs": len(runs),
        "seconds": statistics.fmean(j.found["seconds"] for j in runs),
    }


def _obstacles(claim: Claim, runs: dict[str, list[Job]], delta: float | None) -> list[str]:
    """What would leave the claim open, were these its seeds."""
    first = {arm: [j.found for j in found if j.twin == 0] for arm, found in runs.items()}
    table = {arm: {m: [r["measures"][m] for r in found] for m in found[0]["measures"]} for arm, found in first.items()}
    compute = {arm: statistics.fmean(r["compute"] for r in found) for arm, found in first.items()}
    return judge(replace(claim, seeds=FEWEST), table, compute, delta).obstacles


def _warnings(primaries: dict[str, Any], signs: dict[str, Any], delta: float | None) -> list[str]:
    """What speaks against freezing the claim as it is."""
    found = [f"{MOST} seeds don't decide {name!r}" for name, row in primaries.items() if not row["decides"]]
    for arm, row in signs.items():
        if delta and row["twins"] is not None and row["twins"] > delta / 3:
            found.append(f"twins of {arm} end {row['twins']:.3f} apart (sd), over a third of delta, {delta:.3f}")
        if row["of peak"] is not None and row["of peak"] < PEAK:
            found.append(f"{arm} ends at {row['of peak']:.0%} of its peak")
        if row["broke"]:
            found.append(f"{arm} lost half its gold or more in {row['broke']} of {row['runs']} runs")
    return found


def _minutes(system: System, seconds: dict[str, float]) -> float:
    """Of the whole claim on two processes; arms that were not tried count as the mean of those that were."""
    usual = statistics.fmean(seconds.values())
    runs = system.claim.seeds_of(system.wanted)
    return sum(seconds.get(arm, usual) * len(seeds) for arm, seeds in runs.items()) / 60 / PROCESSES


def _unseen(system: System) -> None:
    """A plan comes before the claim's own runs: seeds that were seen decide nothing about their number."""
    claim = system.claim
    path = results_folder() / f"{claim.name}.json"
    seen = json.loads(path.read_text())["claim"]["first_seed"] if path.is_file() else None
    if seen == claim.first_seed or any(job.begun for job in system.jobs() if job.module == system.module):
        raise ConfigError(f"{claim.name} has run on its own seeds (from {claim.first_seed}): a plan made now would be made after looking; "
                          "give the claim another first_seed")  # fmt: skip
