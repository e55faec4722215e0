"""RLOO: REINFORCE, each answer against the others."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

from accord import losses
from accord.algorithms.rollout.credit import Term, clipped, leave_one_out, log_ratio
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import wanted
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards import Reward, Scores


@dataclass(frozen=True)
class LeaveOneOut:
    """RLOO (Ahmadian et al. 2024, arXiv 2402.14740): ``A_i = R_i - mean of the others``, R less ``kl`` times the KL.

    The surrogate is clipped as in PPO, which is plain REINFORCE on a first pass over the rollouts.
    """

    kl: float = 0.05
    clip: float = 0.2
    needs_critic = False
    least_group = 2

    def __post_init__(self) -> None:
        wanted(self.kl >= 0 and self.clip > 0, "the others' mean as baseline wants kl >= 0 and clip > 0", self)

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        mask = rollouts.mask
        total = scores.values
        if self.kl:
            total = total - self.kl * losses.masked_sum(log_ratio(rollouts), mask, -1)
        advantage = (total - leave_one_out(total, rollouts.group, scores.valid)).masked_fill(~scores.valid, 0.0)
        weight = mask.float() * scores.valid[:, None]
        return [Term(partial(clipped, low=self.clip, high=self.clip), advantage[:, None].expand_as(weight), weight)]


class RLOO(Rollout):
    """``A_i = R_i - mean of the others``: REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740).

    Args:
        kl: weight of the KL to the reference, taken off the reward. clip: of the ratio, for later passes over the same rollouts.
    """

    def __init__(self, policy: Samples, reward: Reward, *, kl: float = 0.05, clip: float = 0.2, group_size: int = 4,
                 sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, reward, LeaveOneOut(kl, clip), group_size=group_size, sampling=sampling, **shared)
