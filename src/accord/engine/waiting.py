"""A bar on stderr for work that may take long."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds after which somebody wants to know how long it takes."""


def watched(things: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The same things one by one; on a terminal, once it has taken a while, with a bar of how many are done."""
    screen, began = Console(stderr=True), time.monotonic()
    bar = Progress(console=screen, disable=not screen.is_terminal, transient=True)
    task = bar.add_task(what, total=total)
    try:
        for thing in things:
            yield thing
            bar.advance(task)
            if time.monotonic() - began > PATIENCE:
                bar.start()  # as often as one likes
    finally:
        if bar.live.is_started:
            bar.stop()
