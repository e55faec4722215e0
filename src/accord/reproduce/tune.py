"""Settings that a claim chooses from: its arms for tuning, on tuning seeds, with what came of each put on record."""

import importlib
import statistics
from collections.abc import Iterable
from typing import Any

from accord.errors import ConfigError
from accord.reproduce.committed import commit
from accord.reproduce.harness import System
from accord.reproduce.runs import Say, arms_for_tuning, jobs_of, run_all

SEEDS = range(1000, 1003)


def tune(system: System, *, processes: int = 2, say: Say = lambda text: None) -> dict[str, Any]:
    """Run a system's table TUNING, and commit to reproductions/tuning.json what its claim compares of each, seed by seed, and how much of
    its peak of gold it keeps at its end; returns that row.

    Where settings are chosen by feedback the module says by which measure, CHOSEN_BY, and this comes first.

    Raises:
        ConfigError: the system has no such table.
    """
    arms = list(arms_for_tuning(system.module))
    if not arms:
        raise ConfigError(f"{system.claim.name} has no arms for tuning: give {system.module} a table TUNING of them")
    jobs = jobs_of(system.module, arms, SEEDS)
    run_all(jobs, processes=processes, say=lambda text: say(f"{system.claim.name} tuning {text}"))
    by: str = getattr(importlib.import_module(system.module), "CHOSEN_BY", "gold")
    compared = dict.fromkeys([by, "gold", *(p.measure for p in system.claim.primaries)])
    row = {"source": jobs[0].source, "seeds": list(SEEDS),
           "arms": {arm: _came([j for j in jobs if j.arm == arm], compared) for arm in arms}}  # fmt: skip
    commit("tuning", system.claim.name, row)
    return row


def _came(runs: list[Any], compared: Iterable[str]) -> dict[str, Any]:
    courses = [[r["reward/gold"] for r in j.found["course"] if "reward/gold" in r] for j in runs]
    kept = [c[-1] / max(c) for c in courses if c and max(c) > 0]
    measures = {m: [j.found["measures"][m] for j in runs] for m in compared if m in runs[0].found["measures"]}
    return {**measures, "of peak": statistics.fmean(kept) if kept else None,
            "seconds": statistics.fmean(j.found["seconds"] for j in runs)}  # fmt: skip
