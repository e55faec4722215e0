"""Write docs/choosing.md from docs/results/choosing.json, which `make choosing` writes."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from accord.catalogue import find
from accord.reproduce.choosing import Point, frontier, within
from accord.reproduce.figure import save
from accord.reproduce.ruler import delta_of

HERE = Path(__file__).parent
INTRO = """# Choosing a method

Made by `make choosing`: every method that learns from pairs alone, and every policy gradient, on the [world of letters](letters.md), from the same
verdicts and as many answers, at three step sizes each. What counts is the gold, which no method sees, and how far a policy went for it.
Methods that want more than these, as answers that can be checked, demonstrations or rounds of their own, are not here: [each has its own
comparison](reproductions.md).
"""
STYLES = {"pairs": "-", "reward": "--"}
OWN = {"dapo": "GRPO as DAPO", "dr-grpo": "GRPO as Dr. GRPO"}


def choosing() -> None:
    """The whole page."""
    path = HERE / "results" / "choosing.json"
    found = json.loads(path.read_text()) if path.is_file() else None
    lines = [INTRO, *(told(found) if found else ["There is nothing to say yet: it has not been measured.", ""])]
    (HERE / "choosing.md").write_text("\n".join(lines))


def told(found: dict[str, Any]) -> list[str]:
    """The figure, the table, and what they advise."""
    points = {m: [Point(**p) for p in row["points"]] for m, row in found["methods"].items()}
    family = {m: row["family"] for m, row in found["methods"].items()}
    save(frontiers(points, family), HERE / "results" / "choosing.svg")
    limits, budget = found["limits"], found["budget"]
    head = [
        "method",
        "learns from",
        *(f"gold at KL ≤ {k:g}" for k in limits),
        "best gold",
        "its KL",
        "its step size",
        "compute of a run",
    ]
    rows = []
    for m, mine in sorted(points.items(), key=lambda p: -frontier(p[1])[-1].gold):
        best, near = frontier(mine)[-1], [within(mine, k) for k in limits]
        cells = [f"{p.gold:.3f} ± {p.half:.3f}" if p else "" for p in (*near, best)]
        rows.append(
            [name(m), family[m], *cells, f"{best.kl:.2f}", f"{best.rate:g}", f"{found['methods'][m]['compute']:.3g}"]
        )
    return [f"Each run saw {budget['pairs']} verdicts and learned from {budget['answers']} answers; lines are means over {budget['seeds']} seeds, ± half of a 95 % "
            "interval. Compute is in forward passes of a token through a million parameters; a reward model's own training is not in it.", "",
            "![Gold against KL](results/choosing.svg)", "", *(f"| {' | '.join(r)} |" for r in (head, ["---"] * len(head), *rows)), "",
            "## Advice", "", *advice(points, family, limits, delta_of("letters")), ""]  # fmt: skip


def name(method: str) -> str:
    return OWN[method] if method in OWN else find(method).short


def advice(points: dict[str, list[Point]], family: dict[str, str], limits: list[float], delta: float) -> list[str]:
    """For each limit of KL the best method, and those that are not worse by a difference worth having."""
    said = []
    for k in (*limits, float("inf")):
        here = {m: p for m, mine in points.items() if (p := within(mine, k))}
        if not here:
            continue
        best = max(here, key=lambda m: here[m].gold)
        near = [
            name(m)
            for m, p in sorted(here.items(), key=lambda x: -x[1].gold)
            if m != best and here[best].gold - p.gold < delta
        ]
        where = f"Within a KL of {k:g}" if k < float("inf") else "Wherever it ends"
        rest = (
            f"; within {delta:.3f} of it (the smallest difference worth having here): {', '.join(near)}"
            if near
            else ", and no other comes near"
        )
        said.append(
            f"- {where}, {name(best)} has the highest gold, {here[best].gold:.3f}, at a step size of {here[best].rate:g}{rest}."
        )
    ends = {f: max(frontier(points[m])[-1].gold for m in points if family[m] == f) for f in STYLES}
    return [
        *said,
        f"- The best that learns from pairs ends at {ends['pairs']:.3f}, the best that follows a reward model of the same verdicts at {ends['reward']:.3f}.",
    ]


def frontiers(points: dict[str, list[Point]], family: dict[str, str]) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for m, mine in points.items():
        line = frontier(mine)
        axes.plot([p.kl for p in line], [p.gold for p in line], STYLES[family[m]], label=name(m), linewidth=1.3)
    axes.set_xlabel("KL to the base policy, nats an answer")
    axes.set_ylabel("gold")
    axes.legend(fontsize=8, ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
