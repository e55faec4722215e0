"""On-policy methods that learn from differences between a prompt's own samples: PRDP and D3PO."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from accord import losses
from accord.algorithms.credit import Term
from accord.algorithms.rollout import Rollout
from accord.errors import one_of, wanted
from accord.policies.base import Rollouts
from accord.rewards import Reward, Scores


@dataclass(frozen=True)
class RewardDifference:
    """PRDP: the difference of two samples' log-ratios predicts that of their rewards; see `losses.reward_difference`.

    The loss couples all steps; with `DiffusionPolicy.at_once` their activations needn't all be kept.
    """

    beta: float = 1.0
    clip: float = 0.1
    reduce: Literal["sum", "mean"] = "sum"
    needs_reference = couples_group = couples_steps = True
    least_group = 2

    def __post_init__(self) -> None:
        wanted(self.beta > 0 and self.clip > 0, "reward differences want beta > 0 and clip > 0", self)
        one_of("reduce", self.reduce, "sum", "mean")

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        surrogate = partial(predict_difference, beta=self.beta, clip=self.clip, reduce=self.reduce)
        return [Term(surrogate, *_of_each(scores, rollouts))]


@dataclass(frozen=True)
class StepPreference:
    """D3PO: DPO at each step of a better and a worse sample; see `losses.step_preference`.

    Attributes:
        clip: as published (0.1); None switches it off.
    """

    beta: float = 0.1
    clip: float | None = 0.1
    needs_reference = couples_group = True
    least_group = 2

    def __post_init__(self) -> None:
        wanted(self.beta > 0 and (self.clip is None or 0 < self.clip < 1),
               "step preferences want beta > 0 and clip in (0, 1)", self)  # fmt: skip

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        rewards, weight = _of_each(scores, rollouts)
        per_step = rollouts.mask * (weight / rollouts.length.clamp(min=1))[:, None]
        return [Term(partial(prefer_steps, beta=self.beta, clip=self.clip), rewards, per_step)]


def _of_each(scores: Scores, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """Rewards (those that don't apply as NaN: no pair has them) and weights under which every prompt's mean over pairs
    counts the same."""
    rewards = scores.values.masked_fill(~scores.valid, float("nan"))
    a, b = losses.better_and_worse(rewards, rollouts.group)
    paired = torch.zeros_like(scores.valid)
    paired[a] = paired[b] = True
    prompts = max(1, len(rollouts.group[paired].unique()))
    return rewards, paired.float() * (paired.sum() / prompts)


def predict_difference(logprobs: Tensor, rollouts: Rollouts, rewards: Tensor, **options: Any) -> Tensor:
    assert rollouts.reference is not None
    return losses.reward_difference(logprobs - rollouts.reference, rollouts.logprobs - rollouts.reference, rewards,
                                    rollouts.group, rollouts.mask, **options)  # fmt: skip


def prefer_steps(logprobs: Tensor, rollouts: Rollouts, rewards: Tensor, **options: Any) -> Tensor:
    assert rollouts.reference is not None
    return losses.step_preference(logprobs - rollouts.reference, rewards, rollouts.group, **options)


def PRDP(policy: Any, reward: Reward, *, beta: float = 1.0, clip: float = 0.1, reduce: Literal["sum", "mean"] = "sum",
         **options: Any) -> Rollout:  # fmt: skip
    """Proximal reward difference prediction (arXiv 2402.08714); options of `Rollout` by name.

    Args:
        beta, clip: in the units of `reduce` and of the policy's log-probs (sums, unless `Denoising.average`).
    """
    return Rollout(policy, reward, RewardDifference(beta, clip, reduce), **options)


def D3PO(policy: Any, judge: Reward, *, beta: float = 0.1, clip: float | None = 0.1, **options: Any) -> Rollout:
    """Direct preference for denoising diffusion (arXiv 2311.13231): pairs of a prompt, judged, no reward model.

    Args:
        judge: any reward; only the order of its values within a prompt counts (annotators' verdicts, tags, a reward).
    """
    return Rollout(policy, judge, StepPreference(beta, clip), **{"group_size": 2, **options})
