"""Runs a claim's arms over its seeds, keeps what is finished, judges, writes the result and its figure."""

import importlib
import json
import pkgutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from matplotlib.figure import Figure

from accord import catalogue
from accord.catalogue import find, results_folder
from accord.engine.run import versions, write_json
from accord.engine.seeds import seeded
from accord.errors import ConfigError
from accord.policies.loading import cache_folder
from accord.policies.meter import metered
from accord.reproduce import systems
from accord.reproduce.claim import Arm, Claim
from accord.reproduce.course import course
from accord.reproduce.luck import luck
from accord.reproduce.ruler import delta_of
from accord.reproduce.source import source_hash
from accord.reproduce.verdict import judge


@dataclass(frozen=True)
class Result:
    """What lies at reproductions/NAME.json.

    Attributes:
        measures: arm -> measure -> a value for each seed; arms that no primary compares have the first few seeds only.
        delta: the world's. effect, interval: of the main primary.
    """

    number: int
    name: str
    claim: dict[str, Any]
    claim_hash: str
    source_hash: str
    seeds: list[int]
    compute: dict[str, float]
    measures: dict[str, dict[str, list[float]]]
    delta: float | None
    effect: float
    interval: tuple[float, float]
    primaries: dict[str, dict[str, float | str]]
    verdict: str
    obstacles: list[str]
    seconds: float
    versions: dict[str, str]


def claims() -> list[str]:
    """Systems that have a reproduction, in order of their cards."""
    found = {m.name.replace("_", "-") for m in pkgutil.iter_modules(systems.__path__)}
    return [m.name for m in catalogue.systems() if m.name in found]


def reproduce_one(name: str, *, seeds: int | None = None, to: Path | None = None,
                  say: Callable[[str], None] = lambda text: None) -> Result:  # fmt: skip
    """Run one reproduction; arms and seeds that are already finished, by the same code, are not run again."""
    module = system(name)
    claim: Claim = module.CLAIM
    if seeds is not None and seeds < 1:
        raise ConfigError(f"seeds must be at least 1, but is {seeds}")
    delta = delta_of(claim.world) if any(p.delta is None for p in claim.primaries) else None
    arms: dict[str, tuple[Arm, Path]] = {a: (f, _kept(module.__name__, a)) for a, f in module.ARMS.items()}
    if "base" in claim.compared - set(arms):
        bench = importlib.import_module(f"accord.reproduce.{claim.world}")
        arms["base"] = bench.RULER["base"], _kept(bench.__name__, "base")
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for seed in range(claim.first_seed, claim.first_seed + claim.seeds)[:seeds]:
        for arm, (function, folder) in arms.items():
            if seed in claim.seeds_of(arm):
                runs[arm].append(run_arm(function, seed, folder / f"{seed}.json"))
                last = runs[arm][-1]
                say(f"{name} seed {seed} {arm}: gold {last['measures']['gold']:.4f} ({last['seconds']:.0f} s)")
    result = _judge(claim, source_hash(module.__name__), runs, delta)
    path = to or results_folder() / f"{name}.json"
    write_json(path, asdict(result))
    _figure(result, claim).savefig(path.with_suffix(".svg"), metadata={"Date": None})
    return result


def _kept(module: str, arm: str) -> Path:
    """Where the runs of an arm are kept that a module makes by the code as it is."""
    return cache_folder() / "reproduce" / f"{module.rpartition('.')[2]}-{source_hash(module)}" / arm


def run_arm(arm: Arm, seed: int, path: Path) -> dict[str, Any]:
    """What an arm measures with a seed, and its compute; read from `path`, if it is there.

    The global generators stand at the seed's own place: an arm comes out the same whatever ran before it.
    """
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    started = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads add in another order, and training makes another run of it
    try:
        with metered() as meter, course() as rows, seeded(luck(seed), purpose="arm"):
            measures = arm(seed)
    finally:
        torch.set_num_threads(threads)
    done = {"measures": measures, "compute": meter.units, "seconds": time.perf_counter() - started, "course": rows}
    write_json(path, done)
    return done


def _judge(claim: Claim, source: str, runs: dict[str, list[dict[str, Any]]], delta: float | None) -> Result:
    measures = {arm: {m: [r["measures"][m] for r in rows] for m in rows[0]["measures"]} for arm, rows in runs.items()}
    compute = {arm: statistics.fmean(r["compute"] for r in rows) for arm, rows in runs.items()}
    judged = judge(claim, measures, compute, delta)
    main = next(iter(judged.primaries.values())).interval
    seeds = len(measures[claim.primaries[0].treatment]["gold"])
    return Result(
        number=find(claim.name).number or 0, name=claim.name, claim=asdict(claim), claim_hash=claim.hash,
        source_hash=source, seeds=list(range(claim.first_seed, claim.first_seed + seeds)), compute=compute,
        measures=measures, delta=delta, effect=main.mean, interval=(main.low, main.high),
        primaries={n: d.row() for n, d in judged.primaries.items()}, verdict=judged.verdict,
        obstacles=judged.obstacles, seconds=sum(r["seconds"] for rows in runs.values() for r in rows), versions=versions(),
    )  # fmt: skip


def _figure(result: Result, claim: Claim) -> Figure:
    """Gold of each arm, a dot a seed, lines between paired seeds."""
    curves, arms = _curves(result), list(result.measures)
    width = max(1.1 * len(arms) + 1.5, 3.0 * len(curves))
    figure = Figure(figsize=(width, 6.0 if curves else 3.0), layout="constrained")
    grid = figure.add_gridspec(2 if curves else 1, max(1, len(curves)))
    axis = figure.add_subplot(grid[0, :])
    more = [figure.add_subplot(grid[1, i]) for i in range(len(curves))]
    gold = {arm: measures["gold"] for arm, measures in result.measures.items()}
    for i in range(len(result.seeds)):
        seen = [(x, gold[a][i]) for x, a in enumerate(arms) if i < len(gold[a])]
        axis.plot(*zip(*seen, strict=True), color="#b9c4cc", lw=0.8, zorder=1)
    for x, arm in enumerate(arms):
        colour = (
            "#2f6f8f"
            if arm == claim.primaries[0].treatment
            else "#c2603a"
            if arm == claim.primaries[0].control
            else "#5b6a76"
        )
        axis.scatter([x] * len(gold[arm]), gold[arm], color=colour, s=18, zorder=2)
    axis.set_xticks(range(len(arms)), arms, fontsize=8)
    axis.set_ylabel("gold", fontsize=8)
    axis.set_title(f"{result.name}: {result.verdict}", fontsize=9, loc="left")
    for panel, (name, lines) in zip(more, curves.items(), strict=True):
        for arm, points in lines.items():
            panel.plot(
                [x for x, _ in points],
                [y for _, y in points],
                marker="o",
                ms=3,
                lw=1.2,
                label=arm,
                color=f"C{arms.index(arm)}",
            )
        panel.set_title(name, fontsize=8, loc="left")
        panel.legend(fontsize=6, frameon=False)
    for each in (axis, *more):
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=7)
    return figure


def _curves(result: Result) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Measures named ``what@x`` are points of a curve: for each what and arm, x and the mean over seeds."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arm, measures in result.measures.items():
        for name, values in measures.items():
            what, at, x = name.partition("@")
            if at:
                found.setdefault(what, {}).setdefault(arm, []).append((float(x), statistics.fmean(values)))
    return found


def system(name: str) -> ModuleType:
    """A system's reproduction. Only the one that is wanted is imported: those on pictures need more libraries than those on text.

    Raises:
        ValueError: its arms are not those of its claim.
    """
    module = importlib.import_module(f"{systems.__name__}.{name.replace('-', '_')}")
    module.CLAIM.check(module.ARMS)
    return module
