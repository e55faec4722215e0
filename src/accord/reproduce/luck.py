"""A run again with other randomness: what is drawn for training changes; requests, tests and feedback stay the seed's."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OTHER = 50_000

_twin: ContextVar[int] = ContextVar("twin", default=0)


def luck(seed: int) -> int:
    """The seed of an arm's training: the arm's own, and another one for each twin of the run."""
    return seed + OTHER * _twin.get()


@contextmanager
def twin(number: int) -> Iterator[None]:
    """Inside, arms are the run's twin of this number (0: the run itself). How far twins end apart is what luck does."""
    token = _twin.set(number)
    try:
        yield
    finally:
        _twin.reset(token)
