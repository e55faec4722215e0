"""What comes after each step of an episode."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def to_go(rewards: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"], gamma: Float[Tensor, ""]) -> Float[Tensor, "n t"]:
    """``G_t = sum_{j >= t} gamma^(j - t) r_j``, with its graph to the rewards and the discount.

    Args:
        mask: steps that were taken; rewards elsewhere count for nothing.
    """
    t = torch.arange(rewards.shape[1], device=rewards.device)
    ahead = gamma.to(rewards.device) ** (t[:, None] - t).clamp(min=0)
    return rewards.masked_fill(~mask, 0.0) @ ahead.tril()


def above_others(returns: Float[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """Each less the mean of the other episodes at the same step (0 where they have ended): an advantage without bias. One alone stays as it is."""
    n = len(returns)
    return returns if n == 1 else (returns - returns.mean(0)) * (n / (n - 1))
