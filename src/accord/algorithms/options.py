"""What a method can be told: every option of its constructor and of those it hands the rest to, as one signature."""

import inspect
import itertools
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from accord.elsewhere import refuse_unknown


@dataclass(frozen=True)
class Option:
    """One argument of a constructor or function.

    Attributes:
        kind: its annotation. default: `inspect.Parameter.empty` where it must be given. help: what its docstring says.
    """

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def needed(self) -> bool:
        return self.default is inspect.Parameter.empty


class Told:
    """A class whose signature shows the options of its bases beside its own, and which answers names that are none of them.

    Raises:
        ConfigError: an option is none of its; the name here is told.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__signature__ = signature_of(cls)  # type: ignore[attr-defined]

    def __new__(cls, *args: Any, **options: Any) -> Self:
        refuse_unknown(cls.__name__, options, inspect.signature(cls).parameters)
        return super().__new__(cls)


def options_of(made: Callable[..., Any]) -> dict[str, Option]:
    """All options of a method's class (or function), its own first."""
    parameters = signature_of(made).parameters.values()
    said: dict[str, str] = {}
    for made_by in made.__mro__ if isinstance(made, type) else [made]:
        doc, known = _own(made_by)
        said = dict(_arguments(doc, {*known, *(p.name for p in parameters)})) | said
    named = (p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
    return {p.name: Option(p.name, p.annotation, p.default, said.get(p.name, "")) for p in named}


def signature_of(made: Callable[..., Any]) -> inspect.Signature:
    """A constructor's arguments; where it hands others on (``**shared``), the next class's keywords beside them: those that
    ``Unpack[…]`` names, or all."""
    if not isinstance(made, type):
        return inspect.signature(made)
    found: dict[str, inspect.Parameter] = {}
    passed: Any = None  # names that are handed on; None at first, where all arguments are its own
    for constructor in (vars(c)["__init__"] for c in made.__mro__ if "__init__" in vars(c)):
        own = list(inspect.signature(constructor).parameters.values())[1:]
        new = (p for p in own if p.name not in found)
        found |= {p.name: p for p in new if passed is None or (p.kind is p.KEYWORD_ONLY and p.name in passed)}
        rest = next((p for p in own if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            break
        named = typing.get_args(rest.annotation)
        passed = typing.get_type_hints(named[0]) if named else _Everything()
    return inspect.Signature([p for p in found.values() if p.kind is not p.VAR_KEYWORD])


class _Everything:
    def __contains__(self, name: str) -> bool:
        return True


def _own(made: Any) -> tuple[str, set[str]]:
    """A class's or function's own docstring, and the names of its own arguments."""
    doc = inspect.cleandoc(made.__doc__ or "")
    takes = vars(made).get("__init__") if isinstance(made, type) else made
    return doc, set(inspect.signature(takes).parameters) if inspect.isfunction(takes) else set()


def _arguments(doc: str, names: set[str]) -> Iterator[tuple[str, str]]:
    """What an ``Args:`` section says of each name; several may stand in one line, or share what is said of them."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    if section is None or not names:
        return
    text = " ".join(section[1].split())
    one = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    starts = list(re.finditer(rf"(?:^|(?<=[.:;)] ))((?:{one})(?:, (?:{one}))*): ", text))
    for start, after in itertools.zip_longest(starts, starts[1:]):
        end = after.start() if after else len(text)
        for name in start[1].split(", "):
            yield name, text[start.end() : end].strip()
