"""accord methods, report."""

from json import dumps

from accord.catalogue import systems
from accord.errors import ConfigError


def methods(kind: str | None = None, json: bool = False) -> None:
    """List the systems and how far each is.

    Args:
        kind: only this kind.
        json: print a JSON list.
    """
    kinds = sorted({m.kind for m in systems()})
    if kind is not None and kind not in kinds:
        raise ConfigError(f"no kind called {kind!r}; the kinds are {', '.join(kinds)}")
    rows = [m for m in systems() if kind in (None, m.kind)]
    if json:
        print(dumps([m.row() for m in rows], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("no", "name", "what", "kind", "modality", "status", "reproduction"):
        table.add_column(column, no_wrap=column != "what")
    for m in rows:
        found = m.reproduction or ("to be measured" if m.status == "working" else "")
        table.add_row(f"{m.number:02}", m.name, m.short, m.kind, str(m.row()["modality"]), m.status, found)
    Console(width=None if Console().is_terminal else 160).print(table)


def report(run: str, out: str | None = None) -> None:
    """Write the HTML report of a run.

    Args:
        run: folder of the run.
        out: file to write; RUN/report.html without.
    """
    from accord.evaluation import write_report

    print(write_report(run, out))
