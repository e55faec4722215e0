"""PRDP: the difference of two samples' rewards, predicted by that of their log-ratios."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Unpack

from torch import Tensor

from accord import losses
from accord.algorithms.rollout.credit import Term, paired_rewards
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import one_of, wanted
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
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
        return [Term(surrogate, *paired_rewards(scores, rollouts))]


def predict_difference(logprobs: Tensor, rollouts: Rollouts, rewards: Tensor, **options: Any) -> Tensor:
    assert rollouts.reference is not None
    return losses.reward_difference(logprobs - rollouts.reference, rollouts.logprobs - rollouts.reference, rewards,
                                    rollouts.group, rollouts.mask, **options)  # fmt: skip


class PRDP(Rollout):
    """``((h_a - h_b) - (r_a - r_b) / beta)^2``: proximal reward difference prediction (Deng et al. 2024, arXiv 2402.08714).

    Args:
        beta: scale of rewards against log-ratios, > 0, in the units of `reduce` and of the policy's log-probs (sums, unless
            `Denoising.average`).
        clip: how far each step's log-ratio may move before it stops to count, in those units too.
        reduce: how steps become h, "sum" or "mean".
    """

    def __init__(self, policy: Samples, reward: Reward, *, beta: float = 1.0, clip: float = 0.1,
                 reduce: Literal["sum", "mean"] = "sum", group_size: int = 8,
                 sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, reward, RewardDifference(beta, clip, reduce), group_size=group_size, sampling=sampling,
                         **shared)  # fmt: skip
