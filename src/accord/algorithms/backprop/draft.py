"""DRaFT: direct reward fine-tuning through the last steps."""

from collections.abc import Mapping
from typing import Any

from accord.algorithms.backprop.trainer import RewardBackprop
from accord.algorithms.backprop.truncation import last
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward


class DRaFT(RewardBackprop):
    """``max E[r(x_0)]`` with gradient through the last k steps: DRaFT-K (Clark et al. 2023, arXiv 2309.17400).

    Args:
        k: steps that carry gradient, from 1 to all.
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, k: int = 1, sampling: Denoising | Mapping[str, Any] | None = None,
                 recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy, reward, truncation=last(k), sampling=sampling, recompute=recompute)
