"""Compute, counted where it is spent: one unit is a forward pass of one token through a million parameters."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from torch import nn


@dataclass
class Meter:
    """Units of compute so far: a forward counts 1, its backward 2 more."""

    units: float = 0.0

    def add(self, model: nn.Module, tokens: int, *, backward: bool = False) -> None:
        self.units += tokens * size_of(model) / 1e6 * (3 if backward else 1)


_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """Count the compute of all policies and reward models used inside."""
    meter = Meter()
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)


def count(model: nn.Module, tokens: int, *, backward: bool = False) -> None:
    """Tell the meter, if one runs."""
    meter = _current.get()
    if meter is not None:
        meter.add(model, tokens, backward=backward)


def size_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
