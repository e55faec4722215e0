"""Contrast Instructions: requests that are close but want other answers, to see whether a reward reads the request at all."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from accord.errors import FeedbackError, wanted
from accord.evaluation.trust.consistency import Contrast, between
from accord.evaluation.trust.referee import Compares, Referee
from accord.feedback import Comparison, picture_key, prompt_key, text_of
from accord.rewards.reward import Reward

Embed = Callable[[Sequence[str]], Float[Tensor, "n d"]]


def contrast_instructions(pairs: Sequence[Comparison], embed: Embed, *, low: float = 0.75, high: float = 0.9) -> list[Comparison]:  # fmt: skip
    """Contrast Instructions (Shen et al. 2023, arXiv 2309.16155): of two requests whose embeddings' cosine lies in [low, high), each with its own
    good answer over the other's; the closest first, and each request once at most. Both stand side by side, with their
    cosine in the column `alike`. Requests with the same good answer make none.

    Args:
        pairs: whose chosen answers are the good ones. embed: rows for texts, such as a `SentenceEncoder`.

    Raises:
        FeedbackError: no two requests are so alike.
    """
    wanted(-1 <= low < high, "contrast sets want -1 <= low < high", (low, high))
    some = list({prompt_key(p.prompt): p for p in reversed(pairs)}.values())[::-1]
    rows = normalize(embed([text_of(p.prompt) for p in some]).float(), dim=-1)
    answers, taken, made = [picture_key(p.chosen) for p in some], set[int](), list[Comparison]()
    for alike, i, j in _within(rows, low, high):
        if answers[i] != answers[j] and not taken & {i, j}:
            taken |= {i, j}
            made += [_against(some[i], some[j], alike), _against(some[j], some[i], alike)]
    if not made:
        raise FeedbackError(f"no two of {len(some)} requests have embeddings whose cosine lies in [{low:g}, {high:g}), with answers of their own: "
                            "widen the band")  # fmt: skip
    return made


def consistency(reward: Reward | Compares, contrasts: Sequence[Comparison], *, batch_size: int = 64) -> Contrast:
    """How often the own answer beats the other's, and how often an answer gets more under its own request (`Contrast`), each
    pair in both roles.

    Args:
        contrasts: of `contrast_instructions`, or of a file of the published layout.

    Raises:
        FeedbackError: a comparison's counterpart, with the same answers the other way round, is missing; or the reward
            says nothing of any.
    """
    texts = [(picture_key(p.chosen), picture_key(p.rejected)) for p in contrasts]
    for i, text in enumerate(texts):
        if texts[min(i ^ 1, len(texts) - 1)] != text[::-1]:
            raise FeedbackError(f"record {i + 1} has no counterpart beside it, with the same answers the other way round: "
                                "records of contrast sets come by twos")  # fmt: skip
    found = [(i, i ^ 1, float(p.columns.get("alike", np.nan))) for i, p in enumerate(contrasts)]
    clusters = [i // 2 for i in range(len(contrasts))]
    said = between(Referee(reward, batch_size=batch_size), contrasts, found, clusters)
    if said is None:
        raise FeedbackError("the reward says nothing of any of these pairs")
    return said


def _within(rows: Float[Tensor, "n d"], low: float, high: float, at_once: int = 1024) -> list[tuple[float, int, int]]:
    """Cosine and places of all pairs in the band, the closest first; not all pairs are held at once."""
    found = []
    for start in range(0, len(rows), at_once):
        near = rows[start : start + at_once] @ rows[start:].T
        first, second = (near.ge(low) & near.lt(high)).triu(1).nonzero(as_tuple=True)
        found.append((near[first, second], first + start, second + start))
    near, first, second = (torch.cat(parts) for parts in zip(*found, strict=True))
    order = near.argsort(descending=True, stable=True)
    return list(zip(near[order].tolist(), first[order].tolist(), second[order].tolist(), strict=True))


def _against(own: Comparison, other: Comparison, alike: float) -> Comparison:
    """A request with its own good answer over the other's."""
    return own.model_copy(
        update={
            "rejected": other.chosen,
            "strength": None,
            "aspects": {},
            "columns": {**own.columns, "alike": alike},
        }
    )
