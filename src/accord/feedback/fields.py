"""Single values of a row, checked: numbers are finite, texts are text, labels are yes or no."""

import json
import math
from collections.abc import Mapping
from numbers import Number
from typing import Any

from torch import Tensor

DEEPEST = 64
"""Rows nested deeper than this are nobody's feedback; reading them would end at Python's own limit."""

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class BadField(ValueError):
    """A field that is missing or not what its shape wants."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"field {field!r}: {problem}" if field else f"the row {problem}")


def plain(value: Any, field: str, depth: int = 0) -> Any:
    """A value as plain Python data (of numpy's and Arrow's own kinds too).

    Raises:
        BadField: somewhere in it is a number that isn't finite, a text that isn't one, or no end of nesting.
    """
    if value is None or isinstance(value, bool | Tensor):
        return value
    if isinstance(value, str):
        return _text(value, field)
    if depth == DEEPEST:
        raise BadField(field.split(".", 1)[0], f"is nested deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        return {_text(k, field): plain(v, f"{field}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, f"{field}.{i}", depth + 1) for i, v in enumerate(value)]
    if type(value).__module__ == "numpy":
        return plain(value.tolist(), field, depth)
    if isinstance(value, Number) and not isinstance(value, complex):
        return _finite(value, field)
    return value


def _text(value: Any, field: str) -> Any:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadField(field, "holds what is no text (bytes that are not UTF-8, or half a character)") from None
    return value


def _finite(value: Any, field: str) -> Any:
    try:
        if math.isfinite(float(value)):
            return value
    except (OverflowError, ValueError, TypeError):
        raise BadField(field, "is a number that no computer can hold") from None
    raise BadField(field, f"is {value}, which is no number to learn from (leave it out or null where there is none)")


def number(value: Any, field: str) -> float:
    """A finite number, perhaps written as text."""
    try:
        return _finite(float(value), field)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, BadField):
            raise
        raise BadField(field, f"wants a number, but is {short(value)}") from None


def numbers(value: Any, field: str) -> list[float]:
    """A list of finite numbers."""
    if not isinstance(value, list):
        raise BadField(field, f"wants a list of numbers, but is {short(value)}")
    return [number(v, f"{field}.{i}") for i, v in enumerate(value)]


def named_numbers(value: Any, field: str) -> dict[str, float]:
    """Finite numbers by name; those that are null are left out."""
    if not isinstance(value, Mapping):
        raise BadField(field, f"wants names with a number each, but is {short(value)}")
    return {str(k): number(v, f"{field}.{k}") for k, v in value.items() if v is not None}


def label(value: Any, field: str) -> bool:
    """Yes or no: a bool, 0 or 1, or one of these as text."""
    known = LABELS.get(str(value).strip().lower()) if isinstance(value, bool | int | float | str) else None
    if known is None:
        raise BadField(field, f"wants true or false (or 1 or 0), but is {short(value)}")
    return known


def structure(value: Any, field: str) -> Any:
    """A list or mapping, perhaps as the text of its JSON."""
    if isinstance(value, str):
        try:
            return plain(json.loads(value), field)
        except (ValueError, RecursionError) as error:
            if isinstance(error, BadField):
                raise
            raise BadField(field, f"wants JSON, but is {short(value)}") from None
    return value


def empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | Mapping) and not value)


def short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "…"
