"""Flow-GRPO: GRPO on the noisy steps of a flow, on all of them or on a few."""

from dataclasses import replace
from typing import Any, Unpack

import torch

from accord.algorithms.rollout.grpo import GRPO
from accord.algorithms.rollout.trainer import Compared, Credited
from accord.engine import Rows, Step, generator
from accord.errors import ConfigError
from accord.policies.capabilities import Differentiable
from accord.rewards import Reward


class FlowGRPO(GRPO):
    """GRPO on denoising steps that draw noise (Liu et al. 2025, arXiv 2505.05470).

    Their steps spread by ``a sqrt(t / (1 - t)) sqrt(dt)``, which is ``eta = a / sqrt(2)`` of the most that a step here can spread,
    in the limit of many steps; with few of them the path keeps its marginals all the same (as in Flow-CPS, arXiv 2509.05952).
    Any diffusion policy will do.

    Args:
        window: so many steps in a row draw noise and train, from a place in the first half of the path drawn anew for each
            update (Flow-GRPO-Fast); a prompt's pictures are one up to there. They train at a share of the cost; drawing costs as
            much as without. None is all steps.
        clip, clip_high, scale: as in `GRPO`; a clip is for log-probs that are means over the latent.
        kl: weight of the KL of a step to the reference's, a mean over the latent. Its gradient is that of theirs, which is taken
            between the means of both steps, at what was drawn (k2) instead.
        sampling: as in `Rollout`; None takes 10 steps of eta 0.5 (their a = 0.7), and averages log-probs over the latent.
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, window: int | None = None, kl: float = 0.0,
                 clip: float = 1e-4, clip_high: float | None = None, scale: bool = True, group_size: int = 8,
                 sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, reward, kl=kl, estimator="k2", clip=clip, clip_high=clip_high, scale=scale,
                         group_size=group_size, sampling=sampling, **shared)  # fmt: skip
        if window is not None and not 1 <= window <= self.sampling.steps:
            raise ConfigError(f"window wants between 1 and {self.sampling.steps} steps, but is {window}")
        if window is not None and isinstance(self.sampling.eta, tuple):
            raise ConfigError("a window says which steps draw noise: give eta as one number")
        self.window = window

    def default_sampling(self) -> Any:
        return replace(super().default_sampling(), steps=10, eta=0.5, average=True)

    def experience(self, batch: Rows, step: Step) -> Credited:
        whole, self.sampling = self.sampling, self.within(step)
        try:
            return super().experience(batch, step)
        finally:
            self.sampling = whole

    def within(self, step: Step) -> Any:
        """How pictures are drawn in this update."""
        if self.window is None:
            return self.sampling
        steps, eta = self.sampling.steps, self.sampling.eta
        places = max(1, steps // 2 - self.window + 1)
        first = int(torch.randint(places, (), generator=generator(step.seed, step.number, purpose="window")))
        noisy = tuple(eta if first <= i < first + self.window else 0.0 for i in range(steps))
        return replace(self.sampling, eta=noisy, common_start=True)
