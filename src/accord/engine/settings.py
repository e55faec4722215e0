"""What an object was made with, as JSON can say it."""

import functools
import numbers
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

MOST = 100
"""Longer collections are data rather than options."""


def settings_of(algorithm: nn.Module) -> dict[str, Any]:
    """An algorithm's class and public attributes, but for the models it trains."""
    models = {id(m) for m in algorithm.trainables.values()}  # type: ignore[operator]
    public = {k: v for k, v in {**vars(algorithm), **algorithm._modules}.items() if k[0] != "_" and k != "training"}
    return {"class": type(algorithm).__name__, **{k: described(v) for k, v in public.items() if id(v) not in models}}


def described(value: Any) -> Any:
    """Plain values as they are, collections, dataclasses and partial functions by what they hold, the rest by name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Path | torch.dtype | torch.device):
        return str(value)
    if isinstance(value, functools.partial):
        return {"function": named(value.func), **_of({**dict(enumerate(value.args)), **value.keywords})}
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, **_of({f.name: getattr(value, f.name) for f in fields(value) if f.repr})}
    if isinstance(value, Mapping) and len(value) <= MOST:
        return _of(value)
    if isinstance(value, list | tuple) and len(value) <= MOST:
        return [described(v) for v in value]
    return value.settings() if hasattr(value, "settings") else named(value)


def named(value: Any) -> str:
    """What to call a function, reward or model."""
    return str(getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__)


def _of(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): described(v) for k, v in values.items()}
