"""PPO: a clipped policy gradient with a critic."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord import losses
from accord.algorithms.rollout.credit import Term, clipped, log_ratio, per_token
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import wanted
from accord.policies.base import Rollouts
from accord.policies.capabilities import SamplesWithStates, States
from accord.rewards import Reward, Scores


@dataclass(frozen=True)
class TokenGAE:
    """PPO for language (Ziegler et al. 2019): reward at the last token, ``-kl log(pi/pi_ref)`` at each, GAE, a critic.

    Attributes:
        whiten: advantages to mean 0, variance 1 over the batch.
        value_weight: of the critic's loss.
        standardise: divide what the steps are paid by its standard deviation over the batch; its mean stays.
    """

    kl: float = 0.05
    clip: float = 0.2
    value_clip: float = 0.2
    value_weight: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    standardise: bool = False
    needs_critic = True

    def __post_init__(self) -> None:
        wanted(min(self.kl, self.value_weight) >= 0 < min(self.clip, self.value_clip) and 0 <= self.gamma <= 1 and 0 <= self.lam <= 1,
               "GAE wants kl and value_weight >= 0, clips > 0, gamma and lam in [0, 1]", self)  # fmt: skip

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        assert rollouts.values is not None
        mask = rollouts.mask & scores.valid[:, None]
        rewards = self.earned(scores, mask)
        if self.kl:
            rewards = rewards - self.kl * log_ratio(rollouts)
        if self.standardise:
            spread = losses.masked_mean((rewards - losses.masked_mean(rewards, mask)).square(), mask).sqrt()
            rewards = rewards / spread.clamp(min=1e-8)
        advantage, returns = losses.gae(rewards.masked_fill(~mask, 0.0), rollouts.values, mask, self.gamma, self.lam)
        if self.whiten:
            advantage = losses.masked_whiten(advantage, mask)
        # Every token of the batch counts the same.
        weight = per_token(mask.float())
        return [
            Term(partial(clipped, low=self.clip, high=self.clip), advantage, weight),
            Term(partial(value_error, clip=self.value_clip), returns, self.value_weight * weight, of="values"),
        ]

    def earned(self, scores: Scores, mask: Bool[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        """What each step is paid: an episode's reward at its last one."""
        rewards = torch.zeros(mask.shape, device=mask.device)
        steps = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * (steps + 1)).amax(-1) - 1
        has = last >= 0
        rewards[has, last[has]] = scores.values[has]
        return rewards


def value_error(values: Tensor, rollouts: Rollouts, returns: Tensor, clip: float = 0.2) -> Tensor:
    assert rollouts.values is not None
    return losses.clipped_value_loss(values, rollouts.values, returns, clip)


class PPO(Rollout):
    """Proximal policy optimisation of language models, with a critic (Schulman et al. 2017, arXiv 1707.06347; Ziegler et al. 2019,
    arXiv 1909.08593).

    Args:
        critic: a trunk to copy (a policy, a reward model); None copies the policy.
        kl: weight of ``log pi/pi_ref``, taken off the reward at each step. clip: of the ratio. value_clip: of the critic's step.
        gamma: discount of later rewards, in [0, 1]. lam: of GAE, in [0, 1].
        whiten: advantages to mean 0, variance 1 over the batch. value_weight: of the critic's loss.
    """

    def __init__(self, policy: SamplesWithStates, reward: Reward, critic: States | None = None, *, kl: float = 0.05, clip: float = 0.2,
                 value_clip: float = 0.2, gamma: float = 1.0, lam: float = 0.95, whiten: bool = True, value_weight: float = 1.0,
                 group_size: int = 1, sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        credit = TokenGAE(kl, clip, value_clip, value_weight, gamma, lam, whiten)
        super().__init__(policy, reward, credit, critic, group_size=group_size, sampling=sampling, **shared)
