"""Losses that fit a scalar reward to feedback: comparisons, ratings, rankings."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord.losses.pairwise import Number, pairwise


def bradley_terry(chosen: Float[Tensor, "n"], rejected: Float[Tensor, "n"], *, target: Number = 1.0,
                  margin: Number = 0.0, weight: Number = 1.0, scale: Number = 1.0,
                  centre: float = 0.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``-log s(k (r_c - r_r) - m) + eta (r_c + r_r)^2``, maximum likelihood of Bradley-Terry comparisons.

    Args:
        chosen, rejected: rewards r_c and r_r.
        target: probability that the chosen one is really preferred (soft labels, vote shares).
        margin: wanted lead m, e.g. from a strength of preference (Llama 2, arXiv 2307.09288).
        weight: confidence in the pair; `scale`: slope k of the annotator, e.g. an annotator's consistency
            or the pair's strength (HelpSteer2-Preference's scaled loss has ``weight=strength``).
        centre: eta, pins the mean of a pair at 0 so that members of an ensemble are comparable (arXiv 2312.09244).
    """
    loss = pairwise(scale * (chosen - rejected), target, margin, weight)
    return loss + centre * (chosen + rejected).square() if centre else loss


def regression(predicted: Float[Tensor, "n *a"], rating: Float[Tensor, "n *a"],
               valid: Bool[Tensor, "n *a"] | None = None) -> Float[Tensor, "n"]:  # fmt: skip
    """Squared error to ratings, averaged over the aspects that were rated (`valid`)."""
    error = (predicted - rating).square()
    if error.ndim == 1:
        return error if valid is None else error.masked_fill(~valid, 0.0)
    if valid is None:
        return error.mean(-1)
    return error.masked_fill(~valid, 0.0).sum(-1) / valid.sum(-1).clamp(min=1)


def plackett_luce(scores: Float[Tensor, "n k"], valid: Bool[Tensor, "n k"] | None = None,
                  tied: Bool[Tensor, "n k"] | None = None) -> Float[Tensor, "n"]:  # fmt: skip
    """``-sum_i log (e^{s_i} / sum_{j >= i} e^{s_j})`` of scores listed best first; two scores give Bradley-Terry.

    Args:
        valid: False where a list is shorter than k (padding stands at the end).
        tied: True where one is as good as the one before it. All of a tie compete for the place of its first (Breslow's
            form, as for tied times in Cox's model), so their order says nothing.
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, -1e30)  # finite: -inf would make NaN gradients
    # log-sum-exp over "this place and all worse ones": a cumulative one from the right.
    tails = torch.logcumsumexp(scores.flip(-1), -1).flip(-1)
    if tied is not None:
        place = torch.arange(scores.shape[-1], device=scores.device).masked_fill(tied, 0).cummax(-1).values
        tails = tails.gather(-1, place)
    terms = tails - scores
    return terms.sum(-1) if valid is None else terms.masked_fill(~valid, 0.0).sum(-1)
