"""The course of a run: what it measured on its way, kept beside what it measured at its end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Row = dict[str, float]

_rows: ContextVar[list[Row] | None] = ContextVar("course", default=None)


def note(step: int, measures: Mapping[str, Any]) -> dict[str, Any]:
    """Put an evaluation into the course of the run that goes on, if one does; returns the measures, as `fit` wants them.

    Names are those of `accord.evaluation.Probe` (reward/gold, reward/proxy, kl, length, distinct, diversity…), so that
    every alarm can be computed from them afterwards.
    """
    rows = _rows.get()
    if rows is not None:
        rows.append({"step": step, **{k: round(float(v), 5) for k, v in measures.items()}})
    return dict(measures)


@contextmanager
def course() -> Iterator[list[Row]]:
    """Collects what is noted inside."""
    rows: list[Row] = []
    token = _rows.set(rows)
    try:
        yield rows
    finally:
        _rows.reset(token)
