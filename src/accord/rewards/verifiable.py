"""Rewards that a rule decides: format, exact and numeric answers, tool calls, length."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import torch

from accord.errors import ConfigError
from accord.feedback import text_of_completion
from accord.rewards.scores import Scores

Rule = Callable[..., Scores]
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")


def matches(pattern: str, *, whole: bool = True) -> Rule:
    """1 where a completion matches the regular expression (as a whole, or anywhere), else 0."""
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is not a regular expression: {error}") from error

    def rule(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        find = compiled.fullmatch if whole else compiled.search
        return _binary([find(text_of_completion(c)) is not None for c in completions])

    rule.__name__ = "matches"
    return rule


def exact_answer(column: str = "answer", *, extract: str | None = None) -> Rule:
    """1 where the (extracted) answer equals the reference in `column`, ignoring case and white space.

    Args:
        extract: a pattern whose last match (first group) is the answer; None takes the whole completion.
    """
    compiled = re.compile(extract, re.DOTALL) if extract else None

    def rule(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        texts = [text_of_completion(c) for c in completions]
        found = [_last(compiled, t) if compiled else t for t in texts]
        right = [
            a is not None and _plain(a) == _plain(str(r)) for a, r in zip(found, _column(columns, column), strict=True)
        ]
        return _binary(right, answer=found)

    rule.__name__ = "exact_answer"
    return rule


def numeric_answer(column: str = "answer", *, tolerance: float = 0.0) -> Rule:
    """1 where the last number of a completion equals the (last number of the) reference, within `tolerance`.

    A sample whose reference holds no number is not judged.
    """

    def rule(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        found = [last_number(text_of_completion(c)) for c in completions]
        wanted = [last_number(str(r)) for r in _column(columns, column)]
        right = [
            a is not None and w is not None and abs(a - w) <= Decimal(str(tolerance))
            for a, w in zip(found, wanted, strict=True)
        ]
        return Scores(torch.tensor(right, dtype=torch.float32), torch.tensor([w is not None for w in wanted]),
                      answer=[None if a is None else str(a) for a in found])  # fmt: skip

    rule.__name__ = "numeric_answer"
    return rule


def json_call(column: str = "call") -> Rule:
    """How well a completion's tool call (a message's first one, or JSON in its text) agrees with the reference: 0 unreadable
    or another tool, else the share of arguments (of either side) that agree, 1 for all."""

    def rule(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        found = [_call_of(c) for c in completions]
        wanted = [json.loads(r) if isinstance(r, str) else r for r in _column(columns, column)]
        values = torch.tensor([_call_agreement(f, w) for f, w in zip(found, wanted, strict=True)])
        return Scores.of(values, answer=found)

    rule.__name__ = "json_call"
    return rule


def length_penalty(target: int, *, per: float = 1.0, unit: str = "words") -> Rule:
    """``-per * max(0, length - target)``, in "words" or "characters"."""
    if unit not in ("words", "characters"):
        raise ConfigError(f"unit={unit!r} is not words or characters")

    def rule(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        texts = [text_of_completion(c) for c in completions]
        size = [len(t.split()) if unit == "words" else len(t) for t in texts]
        return Scores.of(torch.tensor([-per * max(0, s - target) for s in size], dtype=torch.float32))

    rule.__name__ = "length_penalty"
    return rule


def last_number(text: str) -> Decimal | None:
    """The last number written in a text, thousands separators removed; None if there is none."""
    found = NUMBER.findall(text)
    try:
        return Decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None


def first_json(text: str) -> Any | None:
    """The first JSON object in a text, or None."""
    decoder = json.JSONDecoder()
    for start in (m.start() for m in re.finditer(r"\{", text)):
        try:
            return decoder.raw_decode(text, start)[0]
        except json.JSONDecodeError:
            continue
    return None


def _call_of(completion: Any) -> Any | None:
    calls = completion.get("tool_calls") if isinstance(completion, Mapping) else None
    if not calls:
        return first_json(text_of_completion(completion))
    call = calls[0].get("function", calls[0])
    arguments = call.get("arguments")
    return {**call, "arguments": first_json(arguments) if isinstance(arguments, str) else arguments}


def _call_agreement(found: Any, wanted: dict[str, Any]) -> float:
    if not isinstance(found, dict) or found.get("name") != wanted.get("name"):
        return 0.0
    a, b = found.get("arguments") or {}, wanted.get("arguments") or {}
    if not isinstance(a, dict):
        return 0.0
    keys = a.keys() | b.keys()
    return sum(k in a and k in b and a[k] == b[k] for k in keys) / len(keys) if keys else 1.0


def _column(columns: dict[str, Any], name: str) -> Sequence[Any]:
    if name not in columns:
        raise ConfigError(f"this reward reads the column {name!r}, but the data have only {sorted(columns)}")
    return columns[name]


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = list(pattern.finditer(text))
    return (found[-1].group(1) if pattern.groups else found[-1].group()) if found else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _binary(right: Sequence[bool], **more: Any) -> Scores:
    return Scores.of(torch.tensor(right, dtype=torch.float32), **more)
