"""accord methods, report, reproduce."""

import contextlib
from json import dumps
from pathlib import Path

from rich.console import Console
from rich.table import Table

from accord.catalogue import find, systems
from accord.cli.data import quiet_diffusers, say
from accord.errors import ConfigError, ModelError


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


def reproduce(name: str | None = None, all: bool = False, seeds: int | None = None, json: str | None = None) -> None:
    """Measure a published system's claim against its control, by a world's gold.

    Args:
        name: of the system.
        all: every system that has a reproduction.
        seeds: how many paired seeds; the claim's own number without. Fewer give no verdict.
        json: file for the result; reproductions/NAME.json without.
    """
    from accord.reproduce import claims, reproduce_one

    if (name is None) == (not all):
        raise ConfigError("give either a name or --all")
    names = claims() if all else [find(name or "").name]
    missing = [n for n in names if n not in claims()]
    if missing:
        raise ConfigError(f"{missing[0]} has no reproduction yet; these have one: {', '.join(claims())}")
    if all and json:
        raise ConfigError("--json names one file: use it with one system")
    with contextlib.suppress(ModelError):  # systems on text do without diffusers
        quiet_diffusers()
    for n in names:
        result = reproduce_one(n, seeds=seeds, to=Path(json) if json else None, say=say)
        print(
            f"{n}: {result.verdict} (effect {result.effect:+.4g}, 95 % interval {result.interval[0]:+.4g} to {result.interval[1]:+.4g})"
        )
