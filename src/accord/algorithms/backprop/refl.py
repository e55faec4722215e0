"""ReFL: reward feedback at a picture that is predicted near the end."""

from collections.abc import Mapping
from typing import Any

from accord.algorithms.backprop.trainer import RewardBackprop
from accord.algorithms.backprop.truncation import stop_within
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward


class ReFL(RewardBackprop):
    """``max E[r(x0_hat(x_t))]``, t a random one of the last steps, which alone carries gradient: reward feedback learning
    (Xu et al. 2023, arXiv 2304.05977).

    Args:
        last: stop at a random one of so many last steps, from 1 to all (10 of 40 in the paper).
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, last: int = 10, sampling: Denoising | Mapping[str, Any] | None = None,
                 recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy, reward, truncation=stop_within(-last, -1), sampling=sampling, recompute=recompute)
