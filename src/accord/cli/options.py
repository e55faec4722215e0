"""Options that come by name, as a mapping: checked against the function that will take them, before anything is loaded."""

import contextlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from accord.elsewhere import refuse_unknown
from accord.errors import ConfigError


def check_options(takers: Sequence[Callable[..., Any]], options: dict[str, Any], what: str, *,
                  hidden: Collection[str] = ()) -> dict[str, Any]:  # fmt: skip
    """The options, numbers written as text made numbers.

    Args:
        takers: functions that share them. what: whose options they are, for the message.
        hidden: arguments that are nobody's to set here.

    Raises:
        ConfigError: none of the functions has such an option, it isn't of the kind they want, or one is missing.
    """
    known: dict[str, inspect.Parameter] = {}
    for name, p in (x for f in takers for x in inspect.signature(f).parameters.items()):
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in hidden:
            known.setdefault(name, p)
    if not isinstance(options, dict):
        raise ConfigError(f"{what} wants its options by name, but got {options!r}")
    refuse_unknown(what, options, known)
    missing = next((n for n, p in known.items() if p.default is p.empty and n not in options), None)
    if missing is not None:
        raise ConfigError(f"{what} wants the option {missing!r}")
    return {n: _checked(n, v, known[n].annotation, what) for n, v in options.items()}


def _checked(name: str, value: Any, hint: Any, what: str) -> Any:
    if _fits(0.5, hint) and (isinstance(value, str) or type(value) is int):
        with contextlib.suppress(ValueError, OverflowError):  # 1e-3 is a text to YAML
            value = float(value)
    if not _fits(value, hint):
        raise ConfigError(f"{what}: option {name!r} wants {words_of(hint)}, but is {value!r}")
    return value


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, inspect.Parameter.empty):
        return True
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if hint is float:
        return isinstance(value, float) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None:
        return value is None
    kind = origin or hint
    # What a configuration can't write (tensors, functions) no value of it fits.
    return kind in (bool, str, type(None), list, tuple, dict, Mapping) and isinstance(value, kind)


def words_of(hint: Any) -> str:
    """A kind of value as people say it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(w for a in args if (w := words_of(a))))
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null"}
    return names.get(hint, "")


def writable(hint: Any) -> bool:
    """Whether a configuration can write a value of this kind: a number, a text, a switch or one of some words."""
    if typing.get_origin(hint) is typing.Literal:
        return True
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(writable(a) for a in typing.get_args(hint))
    return hint in (bool, int, float, str)
