"""Feedback by person: who said what, whole people held out, and what else a person said beside each verdict."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from accord.errors import FeedbackError, wanted
from accord.feedback.messages import prompt_key
from accord.feedback.records import Comparison, Record

R = TypeVar("R", bound=Record)
Who = Callable[[Any], str | None]


def annotator(record: Record) -> str | None:
    """Who judged a record."""
    return record.annotator


def by_person(records: Sequence[R], who: Who = annotator) -> dict[str, list[R]]:
    """Each person's records, in their order.

    Args:
        who: names the person of a record; a group instead, where groups are meant.

    Raises:
        FeedbackError: a record says nothing of its person.
    """
    found: dict[str, list[R]] = defaultdict(list)
    for i, record in enumerate(records):
        name = who(record)
        if name is None:
            raise FeedbackError(f"record {i + 1} does not say who judged it: give it an annotator, or leave it out")
        found[name].append(record)
    return dict(found)


def split_people(
    records: Sequence[R], test: float = 0.2, *, seed: int = 0, who: Who = annotator
) -> tuple[list[R], list[R]]:
    """Two parts, (train, test), that share nobody; a person's side depends on their name and the seed alone.

    Args:
        test: expected share of people in the second part, in (0, 1).
    """
    wanted(0 < test < 1, "test must lie between 0 and 1", test)
    sides: tuple[list[R], list[R]] = ([], [])
    for name, said in by_person(records, who).items():
        sides[_unit(f"{seed}\x1f{name}") < test].extend(said)
    return sides


@dataclass(frozen=True)
class InContext:
    """A verdict, and others of the same person: what is known of them before.

    Attributes:
        context: none of them asks what the verdict's prompt asks.
    """

    target: Comparison
    context: tuple[Comparison, ...]
    person: str


def in_context(pairs: Sequence[Comparison], k: int, *, seed: int = 0, who: Who = annotator) -> list[InContext]:
    """Every verdict with k others of its person, drawn by its number; people with too few of other prompts are left out."""
    wanted(k >= 1, "a context wants k of at least 1", k)
    found = []
    for name, said in by_person(pairs, who).items():
        keys = [prompt_key(p.prompt) for p in said]
        for i, pair in enumerate(said):
            others = [j for j, key in enumerate(keys) if key != keys[i]]
            if len(others) >= k:
                chosen = Random(f"context:{seed}:{name}:{i}").sample(others, k)
                found.append(InContext(pair, tuple(said[j] for j in chosen), name))
    return found


def _unit(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64
