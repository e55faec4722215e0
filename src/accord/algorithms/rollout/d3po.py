"""D3PO: DPO on every denoising step of judged pairs that the policy drew itself."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

from torch import Tensor

from accord import losses
from accord.algorithms.rollout.credit import Term, paired_rewards
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import wanted
from accord.policies.base import Rollouts
from accord.policies.capabilities import Differentiable
from accord.rewards import Reward, Scores


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
        rewards, weight = paired_rewards(scores, rollouts)
        per_step = rollouts.mask * (weight / rollouts.length.clamp(min=1))[:, None]
        return [Term(partial(prefer_steps, beta=self.beta, clip=self.clip), rewards, per_step)]


def prefer_steps(logprobs: Tensor, rollouts: Rollouts, rewards: Tensor, **options: Any) -> Tensor:
    assert rollouts.reference is not None
    return losses.step_preference(logprobs - rollouts.reference, rewards, rollouts.group, **options)


class D3PO(Rollout):
    """``-log s(beta (d_a - d_b))`` at every step: direct preference for denoising diffusion (Yang et al. 2023, arXiv 2311.13231).

    Pairs of a prompt are judged, without a reward model.

    Args:
        judge: any reward; only the order of its values within a prompt counts (annotators' verdicts, tags, a reward).
        beta: strength of the tie to the reference, > 0.
        clip: keeps each step's ratio within 1 - clip and 1 + clip, in (0, 1); None switches it off. It acts once the policy is
            that far from the reference, which takes many updates where log-probs are averaged. As published there is one for
            each pair and step: give `Training` as many `minibatches` as pairs, with `steps_at_once=1`.
        sampling: as in `Rollout`; None starts both pictures of a pair from one noise and averages log-probs over the latent,
            which is what the defaults of beta and clip are for.
    """

    def __init__(self, policy: Differentiable, judge: Reward, *, beta: float = 0.1, clip: float | None = 0.1, group_size: int = 2,
                 sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, judge, StepPreference(beta, clip), group_size=group_size, sampling=sampling, **shared)

    def default_sampling(self) -> Any:
        return replace(super().default_sampling(), common_start=True, average=True)
