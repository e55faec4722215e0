"""Compute, counted where it is spent: one unit is a forward pass of one token through a million parameters."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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


def count_call(
    model: nn.Module, call: Callable[[], Any], rows: int, shape: tuple[int, ...], *, backward: bool = False
) -> None:
    """Tell the meter what a model costs whose weights work more than once on a row (convolutions): by its multiplications,
    measured on a first call for rows of this shape."""
    meter = _current.get()
    if meter is None:
        return
    known = _known.setdefault(model, {})
    if shape not in known:
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            call()
        known[shape] = flops.get_total_flops() / 2e6 / rows
    meter.units += rows * known[shape] * (3 if backward else 1)


_known: "WeakKeyDictionary[nn.Module, dict[tuple[int, ...], float]]" = WeakKeyDictionary()


def size_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
