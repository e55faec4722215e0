"""How much of the matrix runs, and what is noted of it."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from accord.errors import AccordError

T = TypeVar("T")
FULL = os.environ.get("CONFORMANCE") == "full"

Note = Callable[..., None]
"""``note(part, name, key=value, …)`` of one cell of the matrix, for the table in the docs."""


def spread(everything: Sequence[T], few: Sequence[T]) -> Sequence[T]:
    """All of it in the full run, a few of each make otherwise."""
    return everything if FULL else few


def one_line(error: AccordError) -> str:
    """A refusal's text, which must be a line that says something."""
    text = str(error)
    assert text.strip(), "a refusal says why"
    assert "\n" not in text.strip(), f"a refusal is one line: {text!r}"
    return text


def table(rows: Sequence[Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Notes as part -> name -> what was found; those of one cell are put together."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part, name, what in rows:
        found.setdefault(part, {}).setdefault(name, {}).update(what)
    return {part: dict(sorted(cells.items())) for part, cells in sorted(found.items())}
