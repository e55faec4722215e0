"""What is read off a text that was asked to have a form: by tags, JSON, a choice, a number. What can't be read is None, never guessed."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

Parse = Callable[[str], Any | None]
"""A text to what it says, or None."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")


def tagged(tag: str, inner: Parse | None = None) -> Parse:
    """What stands between ``<tag>`` and ``</tag>``, if that comes just once; read on by `inner`."""

    def parse(text: str) -> Any | None:
        found = re.findall(rf"<{re.escape(tag)}>(.*?)</{re.escape(tag)}>", text, re.DOTALL)
        said = found[0].strip() if len(found) == 1 else None
        return said if said is None or inner is None else inner(said)

    return parse


def field(*path: str, inner: Parse | None = None) -> Parse:
    """A field of the last JSON object in a text, by its path; texts are read on by `inner`."""

    def parse(text: str) -> Any | None:
        value: Any = last_json(text)
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return inner(str(value)) if inner is not None and value is not None else value

    return parse


def choice(*labels: str) -> Parse:
    """The one of these labels that a text ends with, or the only one it names; None if it names several."""
    words = "|".join(sorted(map(re.escape, labels), key=len, reverse=True))
    named = re.compile(rf"(?<!\w)({words})(?!\w)")

    def parse(text: str) -> str | None:
        found = named.findall(text)
        at_end = re.search(rf"(?<!\w)({words})\W*$", text)
        if at_end is not None:
            return at_end.group(1)
        return found[0] if len(set(found)) == 1 else None

    return parse


def number(low: float = -math.inf, high: float = math.inf) -> Parse:
    """The last number of a text, if it lies within these bounds. Of "7/10" that is 7."""

    def parse(text: str) -> float | None:
        found = _NUMBER.findall(re.sub(r"(?<=\d)\s*/\s*\d+(?:\.\d+)?", "", text))
        value = float(found[-1]) if found else math.nan
        return value if low <= value <= high else None

    return parse


def last_json(text: str) -> dict[str, Any] | None:
    """The last JSON object that a text holds, in a fence or not."""
    decoder, found, at = json.JSONDecoder(), None, 0
    while (at := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            at += 1
    return found if isinstance(found, dict) else None
