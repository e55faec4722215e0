"""One self-contained HTML page, and one JSON file, of how far a reward can be trusted."""

from pathlib import Path
from typing import Any

import numpy as np

from accord.engine.run import write_json, write_text
from accord.evaluation.accuracy import Estimate
from accord.evaluation.drawing import ACCENT, FAINT, INK, TRUTH, Picture, axes, picture, rendered
from accord.evaluation.trust.calibration import Calibration
from accord.evaluation.trust.optimisation import Optimisation
from accord.evaluation.trust.trust import Trust

SHOWN = 1500
"""Characters of a text that a page shows."""


def write_page(found: Trust, folder: str | Path, **more: Any) -> Path:
    """Write trust.html and trust.json; returns the path of the page.

    Args:
        more: goes to the JSON as well.
    """
    write_json(Path(folder) / "trust.json", {**found.row(), **more})
    pictures = [_reliability(found.calibration)]
    if found.optimisation is not None:
        pictures.append(_best_of_n(found.optimisation))
    page = rendered("trust.html", {"of": written, "between": between}, t=found, pictures=pictures, agreements=_disputes(found),
                    tables=[(column, list(table.items())) for column, table in found.by.items()])  # fmt: skip
    path = Path(folder) / "trust.html"
    write_text(path, page)
    return path


def written(e: Estimate, unit: str = "") -> str:
    """The value as one reads it in its unit."""
    return _number(e.value, unit) + (" %" if unit == "%" else "")


def between(e: Estimate, unit: str = "") -> str:
    """The interval likewise."""
    return f"{_number(e.low, unit)}, {_number(e.high, unit)}"


def _number(x: float, unit: str) -> str:
    if unit == "points":
        return f"{100 * x:+.1f}"
    return f"{100 * x:.1f}" if unit == "%" else f"{x:.3g}"


def _reliability(found: Calibration) -> Picture:
    figure, axis = axes(3.6, 3.0)
    x = [b.confidence for b in found.bins]
    y = np.array([[b.right.value, b.right.low, b.right.high] for b in found.bins])
    axis.plot([0.5, 1], [0.5, 1], color=FAINT, lw=1)
    axis.errorbar(
        x, y[:, 0], [y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]], color=ACCENT, marker="o", ms=4, lw=1.6, elinewidth=0.8
    )
    axis.set_xlabel("how sure the reward is, s(|lead|)", color=INK)
    axis.set_ylabel("share right", color=INK)
    return picture(
        figure, "Verdicts of about the same confidence, and how many were right; on the line, it is calibrated."
    )


def _best_of_n(found: Optimisation) -> Picture:
    figure, axis = axes(3.6, 3.0)
    n = [r["n"] for r in found.curve]
    axis.plot(n, [r["claimed"] for r in found.curve], color=ACCENT, marker="o", ms=3, label="claimed")
    axis.plot(n, [r["true"] for r in found.curve], color=TRUTH, marker="o", ms=3, label="true")
    axis.set_xscale("log", base=2)
    axis.set_xlabel("n", color=INK)
    axis.legend(frameon=False, fontsize=7)
    return picture(
        figure, "Gain of the best of n, in standard deviations of a prompt's answers: by the reward, and to people."
    )


def _disputes(found: Trust) -> list[tuple[Any, list[dict[str, Any]]]]:
    return [(a, [{k: _shown(v) if isinstance(v, str) else v for k, v in d.items()} for d in found.disputes(a)]) for a in found.agreements]  # fmt: skip


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
