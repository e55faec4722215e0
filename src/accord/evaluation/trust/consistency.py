"""Does a verdict stay where nothing changed that should change it, and change where something did?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.intervals import Array, Bootstrap, right
from accord.evaluation.trust.referee import Compares, Referee, known_values
from accord.evaluation.trust.rewriting import SAME, rewritten
from accord.feedback import Comparison, picture_key, prompt_key, text_of
from accord.rewards.reward import reward_columns, score

ALIKE = 0.95
"""Requests that share more of their words than this may mean the same: no contrast."""


@dataclass(frozen=True)
class Order:
    """Attributes:
    kept: share of verdicts that stay when the two answers change places.
    gain: what the first place is worth, in mean leads of the data; below 0, the second one is liked.
    """

    kept: Estimate
    gain: Estimate

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Contrast:
    """Two requests that are alike, each with its own good answer (Shen et al. 2023, arXiv 2309.16155).

    Attributes:
        response: how often a request's own answer beats the other's. request: how often an answer gets more under its own
            request than under the other; None for judges of pairs, who see one request at a time.
        alike: mean share of words that two requests have in common.
    """

    response: Estimate
    request: Estimate | None
    alike: float

    def row(self) -> dict[str, Any]:
        return asdict(self)


def order(there: Array, swapped: Array, chosen_first: Array, size: float, clusters: Sequence[Any]) -> Order:
    """By leads in both orders.

    Args:
        there, swapped: leads in the order drawn, and in the other one. chosen_first: whether the chosen one came first in the
            former. size: the mean lead. clusters: of each pair.
    """
    boot = Bootstrap(clusters)
    sign = np.where(chosen_first, 1.0, -1.0)
    return Order(boot.share(_kept(there, swapped)), boot.mean(sign * (there - swapped) / 2 / size))


def paraphrased(
    referee: Referee, pairs: Sequence[Comparison], leads: Array, clusters: Sequence[Any]
) -> dict[str, Estimate]:
    """Share of verdicts that stay when both answers are rewritten without a change of meaning, by rewriting; pairs that a
    rewriting leaves as they are say nothing of it."""
    found = {}
    for name, by in SAME.items():
        new = [(rewritten(p.chosen, by), rewritten(p.rejected, by)) for p in pairs]
        rows = [i for i, (p, n) in enumerate(zip(pairs, new, strict=True))
                if None not in n and n != (p.chosen, p.rejected)]  # fmt: skip
        if len(rows) < 2:
            continue
        tried = [pairs[i].model_copy(update={"chosen": new[i][0], "rejected": new[i][1]}) for i in rows]
        kept = _kept(leads[rows], referee(tried).numpy())
        if np.isfinite(kept).any():
            found[name] = Bootstrap([clusters[i] for i in rows]).share(kept)
    return found


def _kept(before: Array, after: Array) -> Array:
    """1 where the verdict is the same, NaN where there are not both."""
    return np.where(np.isnan(before + after), np.nan, np.sign(before) == np.sign(after))


def neighbours(pairs: Sequence[Comparison]) -> list[tuple[int, int, float]]:
    """For each pair another whose request is the most alike (by words in common) but not the same, and how alike it is."""
    words = [set(text_of(p.prompt).lower().split()) for p in pairs]
    known = {w: i for i, w in enumerate(sorted(set().union(*words)))}
    has = np.zeros((len(pairs), len(known)), np.float32)
    for row, some in zip(has, words, strict=True):
        row[[known[w] for w in some]] = 1
    both, count = has @ has.T, has.sum(1)
    alike = both / np.maximum(1, count[:, None] + count[None] - both)
    keys, answers = [prompt_key(p.prompt) for p in pairs], [picture_key(p.chosen) for p in pairs]
    same = np.equal.outer(keys, keys) | np.equal.outer(answers, answers)
    alike[same | (alike >= ALIKE)] = -1
    nearest = alike.argmax(1)
    return [(i, int(j), float(alike[i, j])) for i, j in enumerate(nearest) if alike[i, j] >= 0]


def contrast(
    referee: Referee, pairs: Sequence[Comparison], clusters: Sequence[Any], most: int = 200
) -> Contrast | None:
    """Each pair's request and good answer against those of its neighbour; None without two different requests
    of which the reward says something.

    Args:
        clusters: of each pair.
        most: look for neighbours among so many pairs, the first of different requests.
    """
    firsts = sorted({prompt_key(p.prompt): i for i, p in reversed(list(enumerate(pairs)))}.values())[:most]
    some = [pairs[i] for i in firsts]
    return between(referee, some, neighbours(some), [clusters[i] for i in firsts])


def between(
    referee: Referee, pairs: Sequence[Comparison], found: Sequence[tuple[int, int, float]], clusters: Sequence[Any]
) -> Contrast | None:
    """A pair's request and good answer against those of another, for each two that were found (and how alike they are); None
    without two of them, or where the reward says nothing of any.

    Args:
        clusters: of each pair.
    """
    if len(found) < 2:
        return None
    boot = Bootstrap([clusters[i] for i, _, _ in found])
    tried = [pairs[i].model_copy(update={"rejected": pairs[j].chosen}) for i, j, _ in found]
    leads = referee(tried).numpy()
    if not np.isfinite(leads).any():
        return None
    asked = None if isinstance(referee.reward, Compares) else _requests(referee, pairs, found)
    request = None if asked is None or np.isnan(asked).all() else boot.share(asked)
    return Contrast(boot.share(right(leads)), request, float(np.mean([a for _, _, a in found])))


@torch.no_grad()
def _requests(referee: Referee, pairs: Sequence[Comparison], found: Sequence[tuple[int, int, float]]) -> Array:
    """Whether each answer gets more under its own request than under its neighbour's; a tie counts half, NaN is unknown."""
    answers = [pairs[i].chosen for i, _, _ in found]

    def said(asked: list[Comparison]) -> Array:
        found = score(referee.reward, prompts=[p.prompt for p in asked], completions=answers, batch_size=2 * referee.batch_size,  # type: ignore[arg-type]
                      **reward_columns(asked))  # fmt: skip
        return known_values(found).numpy()

    own, other = said([pairs[i] for i, _, _ in found]), said([pairs[j] for _, j, _ in found])
    return right(own - other)
