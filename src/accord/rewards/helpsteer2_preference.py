"""Ratings and preferences of the same answers, one after the other, and a step beyond."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from accord.errors import FeedbackError, one_of, wanted
from accord.feedback import Comparison, Rating, Record
from accord.rewards.features import Features
from accord.rewards.fitting import FitOptions
from accord.rewards.heads import HeadReward
from accord.rewards.reward import score_pairs

LEAST, CLOSEST = 3, 2
"""So many annotators of a pair are listened to, those who agree best, if they lie no farther apart than this."""
BEYOND = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0)
"""Steps of extrapolation that are tried; 1 is none."""


def rated_then_compared(records: Sequence[Record], features: Features, *, hidden: int = 64, strength: str = "weight", beyond: bool = True,
                        validate: float = 0.1, rating_lr: float | None = None, **training: Any) -> HeadReward:  # fmt: skip
    """A head that first learns ratings by regression, then by the same output preferences, ``-m log s(r_c - r_r)`` with their strength m,
    and then goes on as far again as validation says: ``theta_0 + l (theta_1 - theta_0)``, l > 1 (HelpSteer2-Preference, Wang et al. 2024,
    arXiv 2410.01257; ExPO, Zheng et al. 2024).

    Args:
        records: ratings of one aspect, and comparisons with their strength. Comparisons that have the columns `score_chosen` and
            `score_rejected` are ratings as well.
        hidden: width of the head's hidden layer. strength: weight (scaled), margin or ignore. beyond: whether to extrapolate.
        validate: share in (0, 1) of comparisons, its last ones, on which l is chosen; they are learned from only where it isn't.
        rating_lr: of the first stage; None is that of the second. training: of both stages.

    Raises:
        FeedbackError: there are no ratings or no comparisons, or they say nothing of strength.
    """
    one_of("strength", strength, "weight", "margin", "ignore")
    wanted(0 < validate < 1, "validate must lie in (0, 1)", validate)
    pairs = [r for r in records if isinstance(r, Comparison)]
    ratings = [r for r in records if isinstance(r, Rating)] + [r for p in pairs for r in rated_in(p)]
    if not pairs or not ratings:
        raise FeedbackError(f"wants ratings and comparisons, but has {len(ratings)} and {len(pairs)}")
    if strength != "ignore" and any(p.strength is None for p in pairs):
        raise FeedbackError("some comparisons say nothing of their strength: give strength=ignore, or leave them out")
    held = max(1, round(validate * len(pairs))) if beyond else 0
    reward = HeadReward(features, hidden=hidden, seed=training.get("seed", 0))
    reward.fitted(ratings, **training if rating_lr is None else {**training, "lr": rating_lr})
    before = {k: v.clone() for k, v in reward.state_dict().items()}
    reward.fitted(pairs[: len(pairs) - held], FitOptions(strength=strength), **training)  # type: ignore[arg-type]
    if beyond:
        reward.load_state_dict(farthest(reward, before, pairs[-held:]))
    return reward


def rated_in(pair: Comparison) -> list[Rating]:
    """Ratings of both answers, where a comparison has them."""
    scores = [pair.columns.get(f"score_{side}") for side in ("chosen", "rejected")]
    return [Rating(prompt=pair.prompt, completion=c, aspects={"overall": float(s)})
            for c, s in zip((pair.chosen, pair.rejected), scores, strict=True) if isinstance(s, int | float)]  # fmt: skip


def strength_of(votes: Sequence[int]) -> int | None:
    """The strength of a preference that several people gave, each from -3 (the second is much better) to 3: the rounded mean of the three
    who agree best; None where these lie farther apart than 2, or agree on neither. Where several three agree as well, their mean counts."""
    wanted(bool(votes) and all(-3 <= v <= 3 for v in votes), "votes lie from -3 to 3, at least one", list(votes))
    said = sorted(votes)
    trios = [said[i : i + LEAST] for i in range(max(1, len(said) - LEAST + 1))]
    spread = min(t[-1] - t[0] for t in trios)
    found = round(fmean(fmean(t) for t in trios if t[-1] - t[0] == spread))
    return found if found and spread <= CLOSEST else None


def extrapolated(before: Mapping[str, Tensor], after: Mapping[str, Tensor], by: float) -> dict[str, Tensor]:
    """``before + by (after - before)`` of all weights, in float32; by 0 and 1 give the two back."""
    return {k: (before[k].float() + by * (after[k].float() - before[k].float())).to(v) for k, v in after.items()}


@torch.no_grad()
def farthest(
    reward: Any, before: Mapping[str, Tensor], pairs: Sequence[Comparison], steps: Sequence[float] = BEYOND
) -> dict[str, Tensor]:
    """Of the weights between `before` and now, and beyond, those that order most of these pairs; of equals the nearest. The reward itself
    ends with its weights of now."""
    after = {k: v.clone() for k, v in reward.state_dict().items()}
    found: list[float] = []
    for by in steps:
        reward.load_state_dict(extrapolated(before, after, by))
        values = score_pairs(reward, pairs).values
        found.append(float((values[0::2] > values[1::2]).float().mean()))
    reward.load_state_dict(after)
    return extrapolated(before, after, steps[found.index(max(found))])
