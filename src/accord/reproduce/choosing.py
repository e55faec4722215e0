"""Which method to choose: all that learn from pairs alone, or from a reward, on letters at one budget, gold against KL.

``python -m accord.reproduce.choosing`` makes the runs that are missing and writes figures for docs/choosing.md. Nothing here is a claim:
every method has its own defaults, three step sizes, and seeds of its own.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from accord.algorithms import DPO, GRPO, IPO, KTO, ORPO, PPO, RAFT, RLOO, RPO, TREG, SimPO, Supervised
from accord.engine.run import write_json
from accord.feedback import Comparison, Label
from accord.policies import LanguagePolicy
from accord.reproduce.claim import Arm
from accord.reproduce.letters import proxy, requests, verdicts
from accord.reproduce.letters_arms import learned
from accord.reproduce.runs import Job, jobs_of, run_all
from accord.worlds.letters.feedback import SAMPLING

PAIRS, STEPS, BATCH, PROMPTS, GROUP = 800, (60, 40), 16, 12, 4
"""Verdicts; steps on pairs and on rewards; pairs a step, and prompts x answers a step: 1920 answers either way."""
SEEDS = range(1300, 1303)
RATES = {"pairs": (1e-4, 2e-4, 4e-4), "reward": (2e-4, 5e-4, 1e-3)}
LIMITS = (0.5, 1.0, 2.0, 4.0)
"""Of KL, at which gold is told."""

Make = Callable[[LanguagePolicy, Any], Any]
ON_PAIRS: dict[str, Make] = {
    "sft": lambda p, r: Supervised(p), "dpo": lambda p, r: DPO(p), "ipo": lambda p, r: IPO(p), "simpo": lambda p, r: SimPO(p),
    "orpo": lambda p, r: ORPO(p), "rpo": lambda p, r: RPO(p), "kto": lambda p, r: KTO(p),
    "t-reg": lambda p, r: TREG(p, better="<better> {prompt}", worse="<worse> {prompt}"),
}  # fmt: skip
ON_REWARD: dict[str, Make] = {
    "raft": lambda p, r: RAFT(p, r, group_size=GROUP, sampling=SAMPLING),
    "rloo": lambda p, r: RLOO(p, r, group_size=GROUP, sampling=SAMPLING),
    "grpo": lambda p, r: GRPO(p, r, group_size=GROUP, sampling=SAMPLING),
    "dapo": lambda p, r: GRPO(p, r, group_size=GROUP, sampling=SAMPLING, normalise="tokens", clip_high=0.28),
    "dr-grpo": lambda p, r: GRPO(p, r, group_size=GROUP, sampling=SAMPLING, normalise="budget", scale=False),
    "ppo": lambda p, r: PPO(p, r, group_size=GROUP, sampling=SAMPLING),
}
"""All of them on a reward model of the same verdicts."""


def pairs(seed: int) -> list[Comparison]:
    return verdicts(seed, PAIRS)


def labels(seed: int) -> list[Label]:
    """The same, each answer by itself."""
    return [Label(prompt=p.prompt, completion=c, label=good) for p in pairs(seed) for c, good in ((p.chosen, True), (p.rejected, False))]  # fmt: skip


def on_pairs(method: str, lr: float) -> Arm:
    single = method in ("kto", "sft")  # half as many answers a row
    return learned(lambda p, seed: ON_PAIRS[method](p, None), labels if method == "kto" else pairs, steps=STEPS[0], batch_size=BATCH * (1 + single), lr=lr)  # fmt: skip


def on_reward(method: str, lr: float) -> Arm:
    critic: dict[str, Any] = {"lr_of": {"critic": 1e-3}} if method == "ppo" else {}
    return learned(lambda p, seed: ON_REWARD[method](p, proxy(seed, PAIRS)), requests, steps=STEPS[1], batch_size=PROMPTS, lr=lr, **critic)  # fmt: skip


def arm_of(method: str, lr: float) -> str:
    return f"{method} {lr:g}"


ARMS: dict[str, Arm] = {
    **{arm_of(m, lr): on_pairs(m, lr) for m in ON_PAIRS for lr in RATES["pairs"]},
    **{arm_of(m, lr): on_reward(m, lr) for m in ON_REWARD for lr in RATES["reward"]},
}


@dataclass(frozen=True)
class Point:
    """Where a method's runs of one step size stood at a step: means over seeds, and half of gold's 95 % interval."""

    rate: float
    step: int
    kl: float
    gold: float
    half: float


def points_of(method: str, rates: Iterable[float], jobs: Sequence[Job]) -> list[Point]:
    """All steps at which its runs were looked at."""
    found = []
    for lr in rates:
        courses = [j.found["course"] for j in jobs if j.arm == arm_of(method, lr)]
        for rows in zip(*courses, strict=True):
            gold = [r["reward/gold"] for r in rows]
            spread = statistics.stdev(gold) if len(gold) > 1 else 0.0
            half = float(stats.t.ppf(0.975, max(1, len(gold) - 1))) * spread / len(gold) ** 0.5
            found.append(Point(lr, int(rows[0]["step"]), statistics.fmean(r["kl"] for r in rows), statistics.fmean(gold), half))  # fmt: skip
    return found


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in gold at less KL, from near to far."""
    best: list[Point] = []
    for p in sorted(points, key=lambda p: (p.kl, -p.gold)):
        if not best or p.gold > best[-1].gold:
            best.append(p)
    return best


def at(points: Sequence[Point], kl: float) -> float:
    """Gold at this KL, read off the frontier's straight lines; where they don't go so far, their end."""
    line = frontier(points)
    return float(np.interp(kl, [p.kl for p in line], [p.gold for p in line]))


def figures(jobs: Sequence[Job]) -> dict[str, Any]:
    """Of each method its family, its points, and the mean compute and seconds of a run."""
    found: dict[str, Any] = {}
    for family, methods in (("pairs", ON_PAIRS), ("reward", ON_REWARD)):
        for m in methods:
            mine = [j for j in jobs if j.arm in {arm_of(m, lr) for lr in RATES[family]}]
            found[m] = {"family": family, "points": [asdict(p) for p in points_of(m, RATES[family], mine)],
                        **{k: statistics.fmean(j.found[k] for j in mine) for k in ("compute", "seconds")}}  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--processes", type=int, default=2, help="runs at a time")
    args = parser.parse_args()
    jobs = jobs_of("accord.reproduce.choosing", ARMS, SEEDS)
    run_all(jobs, processes=args.processes, say=print)
    budget = {"pairs": PAIRS, "answers": STEPS[0] * BATCH * 2, "seeds": len(SEEDS)}
    write_json(args.out / "choosing.json", {"budget": budget, "limits": LIMITS, "methods": figures(jobs)})


if __name__ == "__main__":
    main()
