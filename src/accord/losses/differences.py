"""Losses on pairs of episodes of one prompt whose rewards differ; each episode gets half of each of its pairs."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.losses.pairwise import pairwise


def reward_difference(ratio: Float[Tensor, "n t"], old: Float[Tensor, "n t"], rewards: Float[Tensor, "n"], group: Int[Tensor, "n"],
                      mask: Bool[Tensor, "n t"], *, beta: float, clip: float, reduce: Literal["sum", "mean"] = "sum") -> Float[Tensor, "n"]:  # fmt: skip
    """``max(l, l_clipped)``, ``l = ((h_a - h_b) - (r_a - r_b) / beta)^2``: PRDP (Deng et al. 2024, arXiv 2402.08714).

    With the sum over steps, l is 0 for all pairs exactly at ``pi_ref exp(r / beta) / Z``.

    Args:
        ratio: ``log pi - log pi_ref`` of each step. old: the same for the policy that sampled, a constant.
        clip: how far each step's log-ratio may move from the old one before it stops to count.
        reduce: how steps become h; a mean over T steps is a sum with beta / T.
    """
    near = torch.minimum(torch.maximum(ratio, old.detach() - clip), old.detach() + clip)

    def whole(x: Tensor) -> Float[Tensor, "n"]:
        total = x.masked_fill(~mask, 0.0).sum(-1)
        return total / mask.sum(-1).clamp(min=1) if reduce == "mean" else total

    a, b = better_and_worse(rewards, group)
    wanted = (rewards[a] - rewards[b]) / beta
    h, h_near = whole(ratio), whole(near)
    each = torch.maximum((h[a] - h[b] - wanted).square(), (h_near[a] - h_near[b] - wanted).square())
    return _shared(each, a, b, group)


def step_preference(ratio: Float[Tensor, "n t"], rewards: Float[Tensor, "n"], group: Int[Tensor, "n"], *, beta: float,
                    clip: float | None = 0.1) -> Float[Tensor, "n t"]:  # fmt: skip
    """``-log s(beta (d_a - d_b))`` at every step of the better a and the worse b: D3PO (Yang et al. 2023, arXiv 2311.13231).

    The state's normaliser cancels only where both steps leave the same state (the first, from a common start); that
    later steps share the verdict is the method's heuristic.

    Args:
        ratio: d, ``log pi - log pi_ref`` of each step. clip: e, keeps ``exp(d)`` within 1 - e and 1 + e, with no gradient beyond.
    """
    d = ratio if clip is None else ratio.clamp(math.log(1 - clip), math.log(1 + clip))
    a, b = better_and_worse(rewards, group)
    return _shared(pairwise(beta * (d[a] - d[b])), a, b, group)


def better_and_worse(rewards: Float[Tensor, "n"], group: Int[Tensor, "n"]) -> tuple[Int[Tensor, "p"], Int[Tensor, "p"]]:
    """All pairs of a group whose rewards differ, the better one first; ties say nothing."""
    a, b = ((group[:, None] == group) & (rewards[:, None] > rewards)).nonzero(as_tuple=True)
    return a, b


def _shared(
    each: Float[Tensor, "p *t"], a: Int[Tensor, "p"], b: Int[Tensor, "p"], group: Int[Tensor, "n"]
) -> Float[Tensor, "n *t"]:
    """The mean over each group's pairs, half of every pair to each of its two."""
    pairs = torch.zeros(int(group.max()) + 1, device=each.device).index_add_(
        0, group[a], torch.ones(len(a), device=each.device)
    )
    share = each / (2 * pairs[group[a]].reshape(-1, *[1] * (each.ndim - 1)))
    out = each.new_zeros(len(group), *each.shape[1:])
    return out.index_add(0, a, share).index_add(0, b, share)
