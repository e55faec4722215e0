"""Where a text falls into pieces, and how any reward of whole texts becomes one of their pieces."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch

from accord.feedback import text_of_completion
from accord.rewards.reward import Reward, load_state_of, score, state_of
from accord.rewards.scores import Scores, Span

Pieces = Callable[[str], list[tuple[int, int]]]
"""A text to its pieces: their first characters, and those after their last. Together they are the text."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Up to each full stop, question or exclamation mark, with the space after it."""
    return _cut(text, [m.end() for m in re.finditer(r"[.!?]+[\"')\]]*\s+", text)])


def clauses(text: str, fewest: int = 5) -> list[tuple[int, int]]:
    """Sentences, and within them up to a comma or semicolon, where both sides keep at least so many words."""
    found = []
    for start, stop in sentences(text):
        ends, last = [], start
        for m in re.finditer(r"[,;]\s+", text[start:stop]):
            at = start + m.end()
            if min(len(text[last:at].split()), len(text[at:stop].split())) >= fewest:
                ends.append(at)
                last = at
        found += [(a + start, b + start) for a, b in _cut(text[start:stop], [e - start for e in ends])]
    return found


def whole(text: str) -> list[tuple[int, int]]:
    """One piece."""
    return _cut(text, [])


def _cut(text: str, ends: Sequence[int]) -> list[tuple[int, int]]:
    places = [0, *(e for e in ends if 0 < e < len(text)), len(text)]
    return [(a, b) for a, b in pairwise(places) if b > a]


class PrefixDifferences:
    """``q(y_1..j) - q(y_1..j-1)`` of each piece j: what it adds to any reward q of whole texts. Together they are ``q(y) - q("")``,
    which is the value: the same gradient in the mean as q at the end, with less noise (the detoxification reward of
    Fine-Grained RLHF, Wu et al. 2023, arXiv 2306.01693).

    Args:
        pieces: `sentences`, `clauses`, or any function like them.
    """

    def __init__(self, reward: Reward, pieces: Pieces = sentences) -> None:
        self.reward, self.pieces = reward, pieces

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        texts = [text_of_completion(c) for c in completions]
        found = [self.pieces(t) for t in texts]
        of = [i for i, p in enumerate(found) for _ in range(len(p) + 1)]
        begun = [t[:stop] for t, p in zip(texts, found, strict=True) for stop in (0, *(b for _, b in p))]
        own: dict[str, Any] = {k: [v[i] for i in of] for k, v in columns.items() if k != "group"}
        said = score(self.reward, prompts=[prompts[i] for i in of], completions=begun, group=of, **own)
        steps = said.values.detach().cpu().split([len(p) + 1 for p in found])
        spans = [
            [Span(a, b, float(q[j + 1] - q[j])) for j, (a, b) in enumerate(p)]
            for p, q in zip(found, steps, strict=True)
        ]
        valid = torch.stack([v.all() for v in said.valid.split([len(p) + 1 for p in found])])
        return Scores(torch.stack([q[-1] - q[0] for q in steps]).masked_fill(~valid, 0.0), valid, spans=spans)

    def state(self) -> dict[str, Any]:
        return state_of(self.reward)

    def load_state(self, state: dict[str, Any]) -> None:
        load_state_of(self.reward, state)
