"""RLCM: DDPO on the few steps of a consistency model."""

from dataclasses import replace
from typing import Any, Unpack

from accord.algorithms.rollout.ddpo import DDPO
from accord.algorithms.rollout.trainer import Drawn
from accord.errors import ConfigError
from accord.policies.capabilities import Differentiable
from accord.rewards import Reward


class RLCM(DDPO):
    """DDPO on a consistency model's few steps (Oertell et al. 2024, arXiv 2404.03673).

    The last step's prediction is the picture, without noise: it is no action and bears no loss (the released code trains
    on a density there that nobody sees). What that last map does to the reward directly, the estimate leaves out.

    Args:
        buffer, min_count, clip, most: as in `DDPO`.
        sampling: as in `Rollout`; None takes four steps, and averages log-probs over the latent.

    Raises:
        ConfigError: the policy's scheduler is none of a consistency model, or takes one step (nothing is an action then).
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, buffer: int = 32, min_count: int = 16, clip: float = 1e-4,
                 most: float = 10.0, sampling: Any = None, group_size: int = 1, **shared: Unpack[Drawn]) -> None:  # fmt: skip
        super().__init__(policy, reward, buffer=buffer, min_count=min_count, clip=clip, most=most, sampling=sampling,
                         group_size=group_size, **shared)  # fmt: skip
        steps = self.sampling.steps
        if not policy.schedule(steps).consistency:
            raise ConfigError(
                "RLCM wants a consistency model: a pipeline with an LCM scheduler (for others there is DDPO)"
            )
        if steps < 2:
            raise ConfigError(
                "a consistency model of one step has no stochastic action: give sampling at least 2 steps"
            )

    def default_sampling(self) -> Any:
        return replace(super().default_sampling(), steps=4, guidance=1.0)
