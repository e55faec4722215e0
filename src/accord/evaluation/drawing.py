"""Pages: one look for their figures, numbers and templates."""

import html
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

INK, ACCENT, TRUTH, FAINT = "#23303b", "#2f6f8f", "#c2603a", "#b9c4cc"


@dataclass(frozen=True)
class Picture:
    """An inline SVG with its caption."""

    svg: str
    caption: str


def rendered(template: str, filters: Mapping[str, Callable[..., str]] = MappingProxyType({}), **fields: Any) -> str:
    """A template of this folder with its fields filled in, escaped.

    Args:
        filters: further words that it may use.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**fields)


def axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure with one pair of axes."""
    import matplotlib as mpl  # a page is the only thing that needs it
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=7)
    return figure, axis


def picture(figure: Any, caption: str) -> Picture:
    """A figure as it stands in a page, the same to the byte each time."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "accord"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    svg = out.getvalue()
    return Picture(svg[svg.index("<svg") :], html.escape(caption))


def number(x: Any, *, sign: bool = False) -> str:
    """Three digits, and a dash for what is no number."""
    if not isinstance(x, int | float):
        return "–"
    if abs(x) < 1e-6:
        x = 0.0
    return f"{x:+.3g}" if sign else f"{x:.3g}"
