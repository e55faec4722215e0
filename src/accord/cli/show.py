"""accord methods, report."""

from json import dumps
from typing import TYPE_CHECKING

from accord import catalogue
from accord.catalogue import Method
from accord.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table


def methods(kind: str | None = None, json: bool = False) -> None:
    """List the systems and how far each is, and what is also here: what they are measured against or built of.

    Args:
        kind: only this kind.
        json: print a JSON list.
    """
    kinds = sorted({m.kind for m in catalogue.methods()})
    if kind is not None and kind not in kinds:
        raise ConfigError(f"no kind called {kind!r}; the kinds are {', '.join(kinds)}")
    rows = [m for m in catalogue.methods() if kind in (None, m.kind)]
    if json:
        print(dumps([m.row() for m in rows], indent=1))
        return
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    numbered, others = ([m for m in rows if (m.number is None) is also] for also in (False, True))
    if numbered:
        console.print(_table(numbered, "reproduction"))
    if others:
        console.print(*([] if not numbered else [""]), "also here", _table(others), sep="\n")


def _table(rows: list[Method], *more: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("no", "name", "what", "kind", "modality", "status", *more):
        table.add_column(column, no_wrap=column != "what")
    for m in rows:
        found = m.reproduction or ("to be measured" if m.status == "working" else "")
        number = "" if m.number is None else f"{m.number:02}"
        table.add_row(number, m.name, m.short, m.kind, str(m.row()["modality"]), m.status, *([found] if more else []))
    return table


def report(run: str, out: str | None = None) -> None:
    """Write the HTML report of a run.

    Args:
        run: folder of the run.
        out: file to write; RUN/report.html without.
    """
    from accord.evaluation import write_report

    print(write_report(run, out))
