"""Comparisons made of what is not one: scores of one kind or several, trees of answers, logs of what was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

from accord.errors import FeedbackError, one_of, wanted
from accord.feedback.messages import Prompt
from accord.feedback.records import Comparison


def pairs_of_scores(prompt: Prompt, completions: Sequence[Any], scores: Sequence[float], *, how: str = "all", gap: float = 0.0,
                    **more: Any) -> list[Comparison]:  # fmt: skip
    """Better over worse answers, by how far their scores lie apart (`strength`).

    Args:
        how: all pairs; neighbours in the order of scores; ends, the best over the worst; best, over all others.
        gap: no pair lies nearer than this, or as near. more: further fields of the comparisons (annotator, columns …).
    """
    one_of("how", how, "all", "neighbours", "ends", "best")
    wanted(gap >= 0, "gap must be at least 0", gap)
    _aligned(completions, scores, "scores")
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    places = {"all": combinations(order, 2), "neighbours": pairwise(order),
              "ends": [(order[0], order[-1])] if order else [], "best": [(order[0], j) for j in order[1:]]}[how]  # fmt: skip
    return [Comparison(prompt=prompt, chosen=completions[i], rejected=completions[j], strength=scores[i] - scores[j], **more)
            for i, j in places if scores[i] - scores[j] > gap]  # fmt: skip


def pairs_of_frontier(
    prompt: Prompt, completions: Sequence[Any], scores: Mapping[str, Sequence[float]], **more: Any
) -> list[Comparison]:
    """An answer on the Pareto frontier of several scores over each that it dominates: as good in all, better in one.

    Args:
        scores: by aspect, one for each answer; their differences become the comparisons' `aspects`.
    """
    for name, column in scores.items():
        _aligned(completions, column, name)
    rows = list(zip(*scores.values(), strict=True))
    dominated = {(i, j) for i, a in enumerate(rows) for j, b in enumerate(rows)
                 if a != b and all(x >= y for x, y in zip(a, b, strict=True))}  # fmt: skip
    frontier = [i for i in range(len(rows)) if not any((j, i) in dominated for j in range(len(rows)))]
    return [
        Comparison(prompt=prompt, chosen=completions[i], rejected=completions[j],
                   aspects={n: c[i] - c[j] for n, c in scores.items()}, **more)
        for i in frontier for j in range(len(rows)) if (i, j) in dominated
    ]  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A piece of a text, and the ways in which it goes on.

    Attributes:
        value: of an answer that ends here; None elsewhere.
    """

    text: str
    children: tuple["Node", ...] = ()
    value: float | None = None


@dataclass(frozen=True)
class Ending:
    """A whole answer of a tree."""

    text: str
    value: float
    path: tuple[int, ...] = field(default=())


def endings(node: Node, before: str = "", path: tuple[int, ...] = ()) -> Iterator[Ending]:
    """All whole answers of a tree, with the branches taken; raises FeedbackError where one has no value."""
    text = before + node.text
    if node.children:
        for i, child in enumerate(node.children):
            yield from endings(child, text, (*path, i))
    elif node.value is None:
        raise FeedbackError(f"the answer {text[:40]!r} of the tree has no value")
    else:
        yield Ending(text, node.value, path)


def pairs_of_tree(prompt: Prompt, root: Node, *, gap: float = 0.0, **more: Any) -> list[Comparison]:
    """Answers of a tree that part at some branch, the better over the worse; the column `shared` is the number of branches that
    they have in common (tree-structured preference data: the later two part, the finer is what is compared)."""
    found = list(endings(root))
    made = []
    for a, b in combinations(found, 2):
        good, bad = (a, b) if a.value >= b.value else (b, a)
        if good.value - bad.value > gap:
            shared = next(i for i, (x, y) in enumerate(zip(a.path, b.path, strict=False)) if x != y)
            columns = {**more.get("columns", {}), "shared": shared}
            made.append(Comparison(prompt=prompt, chosen=good.text, rejected=bad.text, strength=good.value - bad.value,
                                   **{**more, "columns": columns}))  # fmt: skip
    return made


def pairs_of_log(prompt: Prompt, shown: Sequence[Any], clicked: Sequence[int], **more: Any) -> list[Comparison]:
    """What was clicked over what stood above it and was skipped: that was surely seen (Joachims 2002).

    Args:
        shown: in their order on the page. clicked: places, from 0.
    """
    odd = [c for c in clicked if not 0 <= c < len(shown)]
    if odd:
        raise FeedbackError(f"place {odd[0]} was clicked, but only {len(shown)} answers were shown")
    return [Comparison(prompt=prompt, chosen=shown[c], rejected=shown[i], **more)
            for c in sorted(set(clicked)) for i in range(c) if i not in clicked]  # fmt: skip


def _aligned(completions: Sequence[Any], scores: Sequence[float], name: str) -> None:
    if len(completions) != len(scores):
        raise FeedbackError(f"{name} has {len(scores)} values for {len(completions)} completions")
