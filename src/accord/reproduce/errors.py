"""How often the harness itself errs: twins of one method, drawn into comparisons, should seldom come out better or worse."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from accord.reproduce.claim import FEWEST
from accord.reproduce.committed import commit
from accord.reproduce.ruler import bench
from accord.reproduce.runs import Say, jobs_of, run_all

SEEDS = range(2000, 2040)
DRAWS, RESAMPLES = 2000, 200

Floats = NDArray[np.float64]


def error_rate(differences: Floats, n: int = FEWEST, *, seed: int = 0) -> dict[str, float]:
    """How often a comparison of n seeds comes out better or worse, where there is nothing to find.

    A comparison draws n of the pairs, and for each which of the two is called the treatment: in truth they differ in
    randomness alone. The interval (95 %) is a bootstrap over pairs.
    """
    g = np.random.default_rng(seed)
    found = rate(differences, n, g)
    again = [rate(g.choice(differences, len(differences)), n, g) for _ in range(RESAMPLES)]
    low, high = np.quantile(again, (0.025, 0.975))
    return {"rate": found, "low": float(low), "high": float(high), "pairs": len(differences), "seeds": n,
            "run_to_run": float(np.sqrt(np.mean(differences**2) / 2))}  # fmt: skip


def rate(differences: Floats, n: int, g: np.random.Generator) -> float:
    """The share of comparisons that come out better or worse, over many draws."""
    drawn = g.random((DRAWS, len(differences))).argpartition(n - 1, axis=1)[:, :n]
    values = differences[drawn] * g.choice((-1.0, 1.0), (DRAWS, n))
    half = stats.t.ppf(0.975, n - 1) * values.std(1, ddof=1) / math.sqrt(n)
    return float(np.mean(np.abs(values.mean(1)) > half))


def measure_errors(world: str, *, processes: int = 2, say: Say = lambda text: None) -> dict[str, Any]:
    """Run the twins of a world's null and commit the rate to reproductions/errors.json; returns the world's row."""
    jobs = jobs_of(bench(world), ["null"], SEEDS, twins=(0, 1))
    run_all(jobs, processes=processes, say=say)
    gold = np.array([j.found["measures"]["gold"] for j in jobs]).reshape(-1, 2)
    row = {**error_rate(gold[:, 0] - gold[:, 1]), "source": jobs[0].source, "gold": gold.tolist()}
    commit("errors", world, row)
    return row
