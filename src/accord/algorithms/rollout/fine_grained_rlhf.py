"""Fine-grained RLHF: PPO that is paid where each piece of an answer ends."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from accord.algorithms.rollout.ppo import TokenGAE
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import ConfigError
from accord.policies.capabilities import SamplesWithStates, States
from accord.rewards import Reward, Scores


@dataclass(frozen=True)
class DenseGAE(TokenGAE):
    """As for PPO, with each piece's own reward at its last token."""

    def earned(self, scores: Scores, mask: Bool[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        if scores.steps is None:
            raise ConfigError("fine-grained RLHF wants a reward of pieces (Scores.spans or steps): use PrefixDifferences(reward), a SegmentClassifier, "
                              "or combine() of such")  # fmt: skip
        return scores.steps.masked_fill(~mask, 0.0)


class FineGrainedRLHF(Rollout):
    """``r_t = sum_k sum_j 1[t ends piece j of reward k] w_k R_k(x, y, j) - kl log pi/pi_ref``, then PPO: rewards of several kinds, each
    where a piece of its own size ends (Wu et al. 2023, arXiv 2306.01693).

    Args:
        reward: of pieces: `combine({...}, "sum", weights={...})` of as many kinds as there are; a reward without pieces is paid at
            the end. Signs set the length: what pays for every good sentence pays for more of them.
        critic: a trunk to copy (a policy, a reward model); None copies the policy.
        kl: weight of ``log pi/pi_ref``, taken off the reward at each step. clip: of the ratio. value_clip: of the critic's step.
        gamma: discount of later rewards, in [0, 1]. lam: of GAE, in [0, 1].
        whiten: advantages to mean 0, variance 1 over the batch. value_weight: of the critic's loss.
        standardise: divide what the tokens are paid, the KL taken off, by its standard deviation over the batch.
    """

    def __init__(self, policy: SamplesWithStates, reward: Reward, critic: States | None = None, *, kl: float = 0.3, clip: float = 0.2,
                 value_clip: float = 0.2, gamma: float = 1.0, lam: float = 0.95, whiten: bool = True, value_weight: float = 1.0,
                 standardise: bool = True, group_size: int = 4, sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        credit = DenseGAE(kl, clip, value_clip, value_weight, gamma, lam, whiten, standardise)
        super().__init__(policy, reward, credit, critic, group_size=group_size, sampling=sampling, **shared)
