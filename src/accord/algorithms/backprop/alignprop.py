"""AlignProp: backprop through the whole chain, truncated at random."""

from collections.abc import Mapping
from typing import Any

from accord.algorithms.backprop.trainer import RewardBackprop
from accord.algorithms.backprop.truncation import Truncation, random_last
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward


class AlignProp(RewardBackprop):
    """``max E[r(x_0)]`` through the last k denoising steps, k drawn anew for each update
    (Prabhudesai et al. 2023, arXiv 2310.03739).

    Args:
        truncation: "random-last", one cut an update, as the paper and its code of today have it; "per-step", where each step
            is kept or not by itself, as the first code had it, from which the published numbers come; "full", or "last:K".
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, truncation: Truncation | str = random_last(),
                 sampling: Denoising | Mapping[str, Any] | None = None, recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy, reward, truncation=truncation, sampling=sampling, recompute=recompute)
