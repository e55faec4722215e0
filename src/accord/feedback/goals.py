"""Scored pairs as pairs with a goal: the answer that has the score which was asked for wins."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

from accord.errors import FeedbackError
from accord.feedback.messages import Prompt, instructed
from accord.feedback.records import Comparison, Ranking, Record, comparisons_of

Goal = Callable[[Prompt, Sequence[float]], Prompt]
"""A prompt and the scores that are wanted, to a prompt that asks for them."""

SCORES = ("score_chosen", "score_rejected")
"""Columns of a pair's scores."""


def asked_for(
    prompt: Prompt, scores: Sequence[float], *, of: Sequence[str] = ("overall quality",), best: float = 10
) -> Prompt:
    """The prompt with a request for these scores: in a conversation as its system message, in a text before it.

    Args:
        of: what each score rates. best: the highest there is.

    Raises:
        FeedbackError: there are more or fewer scores than names, or one beyond the best.
    """
    if len(scores) != len(of):
        raise FeedbackError(
            f"{len(scores)} scores of one answer, but the goal names {', '.join(of)}: name them all (asked_for, of=…)"
        )
    if max(scores) > best:
        raise FeedbackError(f"a score of {max(scores):g} lies beyond the best, {best:g}: say what the best is (best=…)")
    wishes = ", ".join(f"{name} {score:g}" for name, score in zip(of, scores, strict=True))
    text = f"Write an answer that would be rated: {wishes} (1 is the lowest, {best:g} the highest)."
    return instructed(prompt, text)


def reward_augmented(records: Iterable[Comparison | Ranking], goal: Goal = asked_for,
                     scores: tuple[str, str] = SCORES) -> list[Comparison]:  # fmt: skip
    """Two comparisons for each scored pair: asked for the better one's score the better one wins, asked for the other's the other
    does. A policy that learns from them by any preference loss keeps its good rejected answers, and is asked for the best score
    at last (Zhang et al. 2024, arXiv 2410.08067). Pairs whose scores are equal say nothing, and are left out.

    Args:
        records: comparisons with both scores (each a number or a list of them) in columns, or rankings with scores, taken apart.
            The published script for models without a system role doesn't swap the second pair; this follows the paper.
        goal: writes the request; use it with the best score when the policy is asked.
        scores: columns of the chosen and of the rejected one's.

    Raises:
        FeedbackError: a record has no scores.
    """
    made = []
    for i, record in enumerate(records, 1):
        for pair, better, worse in _scored(record, i, scores):
            if better != worse:
                flipped = pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})
                made += [pair.model_copy(update={"prompt": goal(pair.prompt, better)}),
                         flipped.model_copy(update={"prompt": goal(pair.prompt, worse)})]  # fmt: skip
    return made


def _scored(record: Record, i: int, names: tuple[str, str]) -> list[tuple[Comparison, list[float], list[float]]]:
    """The pairs of a record with both sides' scores."""
    if isinstance(record, Ranking) and record.scores is not None:
        apart = [(a, b) for a, b in combinations(record.scores, 2) if a > b]
        return [(pair, [a], [b]) for pair, (a, b) in zip(comparisons_of(record), apart, strict=True)]
    if not isinstance(record, Comparison):
        raise FeedbackError(
            f"record {i} is a {type(record).__name__.lower()} without scores: reward augmentation wants scored pairs or rankings"
        )
    missing = next((n for n in names if record.columns.get(n) is None), None)
    if missing is not None:
        raise FeedbackError(f"record {i} has no {missing!r}: reward augmentation wants the scores of both answers")
    better, worse = (_numbers(record.columns[n], i, n) for n in names)
    return [(record, better, worse)]


def _numbers(value: Any, i: int, name: str) -> list[float]:
    found = list(value) if isinstance(value, list | tuple) else [value]
    if not found or not all(isinstance(v, int | float) for v in found):
        raise FeedbackError(f"record {i}: {name!r} should be a number or a list of numbers, but is {value!r}")
    return [float(v) for v in found]
