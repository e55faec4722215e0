"""The figure of a result: gold of each arm at the end and on the way, and curves where it has some."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from accord.reproduce.claim import Claim
from accord.reproduce.course import Row
from accord.reproduce.result import Result

Courses = Mapping[str, Sequence[Sequence[Row]]]
"""arm -> the course of each of its runs."""


def save(drawn: Figure, path: Path) -> None:
    """As SVG, the same bytes for the same figure."""
    with rc_context({"svg.hashsalt": "accord"}):
        drawn.savefig(path, format="svg", metadata={"Date": None})


def figure(result: Result, claim: Claim, courses: Courses) -> Figure:
    """Gold of each arm, a dot a seed, lines between paired seeds; below, means over seeds of what has a course."""
    curves, arms = {**_on_the_way(courses), **_curves(result)}, list(result.measures)
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


def _on_the_way(courses: Courses) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Gold and proxy by step, where at least one arm trained with either in sight."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name in ("gold", "proxy"):
        for arm, runs in courses.items():
            seen: dict[float, list[float]] = {}
            for row in (row for run in runs for row in run if f"reward/{name}" in row):
                seen.setdefault(row["step"], []).append(row[f"reward/{name}"])
            if seen:
                found.setdefault(f"{name} on the way", {})[arm] = [
                    (x, statistics.fmean(y)) for x, y in sorted(seen.items())
                ]
    return found
