"""Write docs/choosing.md from docs/results/choosing.json, which `make choosing` writes."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from accord.catalogue import find
from accord.reproduce.choosing import Point, at, frontier
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
        *(f"at KL {k:g}" for k in limits),
        "best gold",
        "its KL",
        "its step size",
        "compute of a run",
    ]
    rows = []
    for m, mine in sorted(points.items(), key=lambda p: -frontier(p[1])[-1].gold):
        best = frontier(mine)[-1]
        cells = [*(f"{at(mine, k):.3f}" if k < best.kl else "" for k in limits), f"{best.gold:.3f} ± {best.half:.3f}"]
        rows.append(
            [name(m), family[m], *cells, f"{best.kl:.2f}", f"{best.rate:g}", f"{found['methods'][m]['compute']:.3g}"]
        )
    return [f"Each run saw {budget['pairs']} verdicts and learned from {budget['answers']} answers; gold and KL are means over {budget['seeds']} seeds, ± half of a 95 % "
            "interval; what stands under a KL is read off the lines of the figure, and left out where a method doesn't go so far. Compute is in forward passes of a token through a million parameters; a reward model's own training is not in it.", "",
            "![Gold against KL](results/choosing.svg)", "", *(f"| {' | '.join(r)} |" for r in (head, ["---"] * len(head), *rows)), "",
            "## Advice", "", *advice(points, family, limits, delta_of("letters")), ""]  # fmt: skip


def name(method: str) -> str:
    return OWN[method] if method in OWN else find(method).short


def advice(points: dict[str, list[Point]], family: dict[str, str], limits: list[float], delta: float) -> list[str]:
    """For each limit of KL the best method, and those that are worse by a difference worth having."""
    said = [f"A difference counts here from {delta:.3f} on, the smallest worth having in this world.", ""]
    for k in (*limits, float("inf")):
        here = {m: at(mine, k) for m, mine in points.items()}
        best = max(here, key=lambda m: here[m])
        worse = [name(m) for m, gold in sorted(here.items(), key=lambda x: -x[1]) if here[best] - gold >= delta]
        where = f"As far as a KL of {k:g}" if k < float("inf") else "Wherever it ends"
        rest = f"behind by what counts: {', '.join(worse)}" if worse else "none is behind by what counts"
        said.append(f"- {where}, {name(best)} has the highest gold, {here[best]:.3f}; {rest}.")
    ends = {f: max((frontier(points[m])[-1].gold, name(m)) for m in points if family[m] == f) for f in STYLES}
    (pairs, one), (reward, other) = ends["pairs"], ends["reward"]
    k = limits[-2]
    there = [at(mine, k) for mine in points.values() if frontier(mine)[-1].kl >= k]
    so = (
        ": how far a policy goes, by step size and steps, matters more than its loss"
        if max(there) - min(there) < delta
        else ""
    )
    most = [name(m) for m, mine in points.items() if frontier(mine)[-1].rate == max(p.rate for p in mine)]
    return [
        *said,
        f"- The best that learns from pairs, {one}, ends at {pairs:.3f}, the best that follows a reward model of the same verdicts, {other}, at {reward:.3f}.",
        f"- Of the {len(there)} that go as far as a KL of {k:g}, gold lies there between {min(there):.3f} and {max(there):.3f}{so}.",
        f"- Best at the largest step size that was tried, and perhaps not at their best: {', '.join(most)}.",
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
