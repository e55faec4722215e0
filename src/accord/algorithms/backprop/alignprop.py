"""AlignProp: backprop through the whole chain, truncated at random."""

from accord.algorithms.backprop.trainer import RewardBackprop
from accord.algorithms.backprop.truncation import Truncation, per_step
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward


class AlignProp(RewardBackprop):
    """``max E[r(x_0)]`` through all denoising steps, of which each update leaves some out at random
    (Prabhudesai et al. 2023, arXiv 2310.03739).

    Args:
        truncation: "per-step" as the released code has it, from which the published numbers come; "random-last", one cut an
            update, as the paper has it; "full", or "last:K".
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, truncation: Truncation | str = per_step(),
                 sampling: Denoising | None = None, recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy, reward, truncation=truncation, sampling=sampling, recompute=recompute)
