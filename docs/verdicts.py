"""docs/reproductions.md from reproductions/*.json: a forest plot of all systems, then each with its claim, tables, figure and analysis."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from accord.catalogue import Method, results_folder, systems
from accord.reproduce.committed import committed
from accord.reproduce.figure import save
from accord.reproduce.harness import stale

HERE = Path(__file__).parent
COLOURS = {"holds": "#2a7f62", "in part": "#8fbf7f", "fails": "#c0492f", "open": "#9aa5ad"}
"""Of the verdicts, in their order on the page."""
ENDS = 6.0
"""Deltas beyond which an effect is drawn at the edge."""
STALE = {
    "of another claim": "the claim has been written anew since",
    "of another plan": "its plan asks for other numbers of seeds",
    "of other code": "the code it runs through has changed since",
}


def reproductions() -> None:
    """The page, and the plot beside the results."""
    found = [(m, r) for m in systems() if (r := result(m.name))]
    old = {m.name: why for m, _ in found if (why := stale(m.name))}
    measured = sorted((p for p in found if "obstacles" in p[1]), key=lambda p: (*COLOURS,).index(p[1]["verdict"]))
    lines = ["# Reproductions", "", *opening(measured, old)]
    if measured:
        save(forest(measured, old), results_folder() / "forest.svg")
        lines += ["![Effects of all systems, over delta](../reproductions/forest.svg)", ""]
    lines += [*table(found, old), *worlds()]
    notes = analyses()
    for m, r in found:
        lines += section(m, r, old.get(m.name), notes.get(m.number, ""))
    (HERE / "reproductions.md").write_text("\n".join([*lines, ""]))


def result(name: str) -> dict[str, Any] | None:
    path = results_folder() / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def opening(measured: list[tuple[Method, dict[str, Any]]], old: dict[str, str]) -> list[str]:
    counts = Counter(r["verdict"] for _, r in measured)
    said = ", ".join(
        f"{counts[v]} {v if v in ('in part', 'open') else v.removesuffix('s') if counts[v] > 1 else v}"
        for v in COLOURS
        if counts[v]
    )
    stand = (
        f"Of {len(measured)} published systems that were measured so, **{said}**."
        if measured
        else "None has been measured by these rules yet."
    )
    again = (
        f" {len(old)} older results are stale: {'they' if len(old) > 1 else 'it'} will be measured again."
        if old
        else ""
    )
    return [
        f"Does a published idea do what its paper says, to a *gold* that no method may read? {stand}{again}", "",
        "A dot is what the treatment does to its main measure beside its control, with the 95 % interval of a paired t test over seeds, in units of delta: the "
        "smallest difference worth having, a fifth of the way from the world's untrained base to its oracle. A claim *holds* if every comparison comes out as it "
        "says, *in part* if the main one does, *fails* if that comes out otherwise, and is *open* if it can't be told. Claims and numbers of seeds are committed "
        "before a claim runs. This page is made by `make docs`.", "",
    ]  # fmt: skip


def forest(measured: list[tuple[Method, dict[str, Any]]], old: dict[str, str]) -> Figure:
    """A row a system: effect of the main primary over its delta; hollow where it is stale."""
    rows = sorted(measured, key=lambda p: ((*COLOURS,).index(p[1]["verdict"]), -effect(p[1])[0]))
    figure = Figure(figsize=(8.2, 1.1 + 0.3 * len(rows)), layout="constrained")
    axis = figure.add_subplot()
    axis.axvspan(-1, 1, color="#eef1f3", zorder=0)
    axis.axvline(0, color="#7c8891", lw=0.8, zorder=1)
    for y, (m, r) in enumerate(rows):
        mean, low, high = (min(ENDS, max(-ENDS, x)) for x in effect(r))
        colour = COLOURS[r["verdict"]]
        axis.plot([low, high], [y, y], color=colour, lw=2.2, solid_capstyle="butt", zorder=2)
        if abs(mean) < ENDS:
            face = "white" if m.name in old else colour
            axis.scatter(mean, y, s=52, color=face, edgecolor=colour, linewidth=1.6, zorder=3)
        for beyond, edge, mark in ((low == -ENDS, -ENDS, "<"), (high == ENDS, ENDS, ">")):
            if beyond:
                axis.scatter(edge, y, marker=mark, s=44, color=colour, clip_on=False, zorder=2)
        axis.text(ENDS + 0.35, y, says(r), va="center", fontsize=7.5, color="#5b6a76", clip_on=False)
    axis.set_yticks(range(len(rows)), [m.short for m, _ in rows], fontsize=9)
    for label, (_, r) in zip(axis.get_yticklabels(), rows, strict=True):
        label.set_color(COLOURS[r["verdict"]] if r["verdict"] != "open" else "#5b6a76")
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(-ENDS, ENDS)
    axis.set_xlabel("effect / delta   (grey band: not worth having)", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    marks = [
        Line2D([], [], marker="o", ls="", ms=6, color=c, label=v)
        for v, c in COLOURS.items()
        if any(r["verdict"] == v for _, r in rows)
    ]
    marks += [Line2D([], [], marker="o", ls="", ms=6, mfc="white", color="#5b6a76", label="stale")] * any(
        m.name in old for m, _ in rows
    )
    figure.legend(
        handles=marks,
        loc="outside upper left",
        ncols=len(marks),
        frameon=False,
        fontsize=8,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    return figure


def says(r: dict[str, Any]) -> str:
    """The main comparison in a few words."""
    p = r["claim"]["primaries"][0]
    return f"{p['treatment']} against {p['control']}" + (f", {p['measure']}" if p["measure"] != "gold" else "")


def effect(r: dict[str, Any]) -> tuple[float, float, float]:
    """Mean, low and high of the main primary, over its delta."""
    main = next(iter(r["primaries"].values()))
    return main["mean"] / main["delta"], main["low"] / main["delta"], main["high"] / main["delta"]


def table(found: list[tuple[Method, dict[str, Any]]], old: dict[str, str]) -> list[str]:
    lines = ["| no | system | world | verdict | effect | over delta | seeds |", "|---|---|---|---|---|---|---|"]
    results = {m.name: r for m, r in found}
    for m in systems():
        r = results.get(m.name)
        if r and "obstacles" in r:
            mean, low, high = effect(r)
            verdict = f"**{r['verdict']}**" + (" (stale)" if m.name in old else "")
            lines.append(f"| {m.number:02} | [{m.short}](#{m.name}) | {r['claim']['world']} | {verdict} | {interval(next(iter(r['primaries'].values())))} "
                         f"| {mean:+.1f} [{low:+.1f}, {high:+.1f}] | {next(iter(r['wanted'].values()))} |")  # fmt: skip
        elif m.entry:
            name = f"[{m.short}](#{m.name})" if r else m.short
            lines.append(f"| {m.number:02} | {name} | | to be measured{' again' if r else ''} | | | |")
    return [*lines, ""]


def worlds() -> list[str]:
    """The rulers, and how often the harness errs with them."""
    wrong = committed("errors")
    lines = ["## The worlds that they are measured in", ""]
    if not (known := committed("rulers")):
        return [*lines, "Their rulers have yet to be measured (`accord reproduce --ruler letters`).", ""]
    lines += [
        "Delta is fixed once for a world. Twins, two runs of one method that differ in randomness alone, drawn into comparisons of six seeds, should come out better "
        "or worse in 5 of 100.", "",
        "| world | untrained base | oracle | delta | twins that pass for different | a run's twin ends away by (sd) |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for world, ruler in known.items():
        row = wrong.get(world)
        rate = f"{row['rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}]" if row else "to be measured"
        lines.append(
            f"| {world} | {fmean(ruler['base']):.3f} | {fmean(ruler['oracle']):.3f} | {ruler['delta']} | {rate} | {f'''{row['run_to_run']:.3f}''' if row else ''} |"
        )
    return [*lines, ""]


def section(m: Method, r: dict[str, Any], old: str | None, notes: str) -> list[str]:
    """A system: its claim in a sentence, what came out, its arms, its figure, its analysis."""
    lines = [f"## {m.name}", "", f"*{m.title}.* {r['claim']['statement']}", ""]
    if "obstacles" not in r:
        return [*lines, "Measured by earlier rules: to be measured again.", "", *([notes, ""] if notes else [])]
    lines += [f"**{r['verdict'].capitalize()}.**" + (f" *Stale: {STALE[old]}.*" if old else ""), ""]
    lines += [*[f"- Open, as {o}." for o in r["obstacles"]], ""] if r["obstacles"] else []
    lines += [
        "| the claim says | difference, 95 % interval | seeds | delta | comes out | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {n} | {interval(p)} | {r['wanted'][n]} | {p['delta']:g} | {p['outcome']} | {p['came']} |"
        for n, p in r["primaries"].items()
    ]
    lines += ["", "| arm | gold | sd over seeds | seeds | compute |", "|---|---|---|---|---|"]
    for arm, measures in r["measures"].items():
        gold = measures["gold"]
        lines.append(
            f"| {arm} | {fmean(gold):.3f} | {f'{stdev(gold):.3f}' if len(gold) > 1 else ''} | {len(gold)} | {r['compute'][arm]:,.0f} |"
        )
    return [*lines, "", f"![{m.name}](../reproductions/{m.name}.svg)", "", *([notes, ""] if notes else []), *tried(m.name),
            f"Claim `{r['claim_hash']}`, source `{r['source_hash']}`, seeds {r['seeds'][0]} to {r['seeds'][-1]}, {r['seconds'] / 60:.0f} minutes of one core.", ""]  # fmt: skip


def tried(name: str) -> list[str]:
    """The settings that a claim chose from, by what came of them on tuning seeds."""
    if (row := committed("tuning").get(name)) is None:
        return []
    measures = [m for m in dict.fromkeys(m for c in row["arms"].values() for m in c) if m not in ("of peak", "seconds")]
    came = [
        f"| {arm} | {' | '.join(_each(c[m]) if m in c else '' for m in measures)} |" for arm, c in row["arms"].items()
    ]
    seeds = f"seeds {row['seeds'][0]} to {row['seeds'][-1]}"
    return [f"Settings were chosen among these, mean (and each) of tuning {seeds}:", "",
            f"| arm | {' | '.join(measures)} |", "|---" * (len(measures) + 1) + "|", *came, ""]  # fmt: skip


def _each(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f} ({' · '.join(f'{x:.3f}' for x in values)})"


def interval(p: dict[str, Any]) -> str:
    return f"{p['mean']:+.3f} [{p['low']:+.3f}, {p['high']:+.3f}]"


def analyses() -> dict[int, str]:
    """The sections of reproduction-notes.md, by number; their headings give way to the page's own."""
    parts = re.split(r"^## (\d\d) .*$", (HERE / "reproduction-notes.md").read_text(), flags=re.MULTILINE)
    return {int(number): text.strip() for number, text in zip(parts[1::2], parts[2::2], strict=True)}
