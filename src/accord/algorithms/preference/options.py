"""Options of a loss, checked before anything is loaded; those that the records themselves hold, read from them."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import ConfigError, FeedbackError
from accord.losses import LogProbs

PerRow = float | str
"""A number, or the name of the records' field or column that holds each one's own."""

NOTHING = LogProbs(torch.zeros(1), torch.ones(1), torch.zeros(1), torch.zeros(1, 1), torch.zeros(1, 1))


def try_loss(who: str, loss: Callable[..., Any], *data: Any, **options: Any) -> None:
    """Call a loss once on next to nothing, so that options which it hasn't, or that lie outside their range, are refused."""
    try:
        inspect.signature(loss).bind(*data, **options)
        if not any(isinstance(v, str) for v in options.values()):
            loss(*data, **options)
    except TypeError as error:
        raise ConfigError(f"{who}: {error}") from None


def options_of_rows(who: str, rows: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Float[Tensor, "n"]]:
    """The options that name a field or column, as numbers of these rows.

    Raises:
        FeedbackError: a row has no such number.
    """
    named = {k: v for k, v in options.items() if isinstance(v, str)}
    return {k: torch.tensor([_number(who, k, row, i, v) for i, row in enumerate(rows, 1)]) for k, v in named.items()}


def check_rows_options(who: str, rows: Sequence[Any], loss: Callable[..., Any], *data: Any, **options: Any) -> None:
    """Refuse, with its number, a record whose own options are missing or out of range."""
    own = options_of_rows(who, rows, options)
    for i in range(len(rows) if own else 0):
        try:
            try_loss(who, loss, *data, **{**options, **{k: v[i : i + 1] for k, v in own.items()}})
        except ConfigError as error:
            raise FeedbackError(f"record {i + 1}: {error}") from None


def _number(who: str, option: str, row: Any, i: int, column: str) -> float:
    value = getattr(row, column) if column in type(row).model_fields else row.columns.get(column)
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    has = f"no {column!r}" if value is None else f"{column}={value!r}"
    raise FeedbackError(f"record {i} has {has}, but {who} takes its {option} from there: give every record a number")
