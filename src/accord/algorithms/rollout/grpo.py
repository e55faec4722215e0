"""GRPO: each answer against its group."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Unpack

from accord.algorithms.rollout.credit import Term, clipped, group_mean, group_std, kl_to, per_token
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import ConfigError, one_of, wanted
from accord.losses.policy_gradient import KLEstimator
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards import Reward, Scores

Normalise = Literal["sequence", "tokens", "budget"]


@dataclass(frozen=True)
class GroupRelative:
    """GRPO (Shao et al. 2024, arXiv 2402.03300): ``A_i = (R_i - mean) / std`` of the group, the same at every token.

    Attributes:
        scale: divide by the group's standard deviation.
        normalise: "sequence", each answer's mean over its own tokens (the paper); "tokens", all tokens alike (DAPO);
            "budget", a constant length, which is unbiased in length (Dr. GRPO, arXiv 2503.20783, with scale=False).
        kl: weight of the k3 estimate of KL to the reference, as a term of the loss.
        clip_high: upper clip, the same as `clip` if None.
    """

    kl: float = 0.0
    clip: float = 0.2
    clip_high: float | None = None
    scale: bool = True
    normalise: Normalise = "sequence"
    estimator: KLEstimator = "k3"
    needs_critic = False
    least_group = 2

    def __post_init__(self) -> None:
        high = self.clip if self.clip_high is None else self.clip_high
        wanted(self.kl >= 0 and self.clip > 0 and high > 0, "group-relative credit wants kl >= 0 and clips > 0", self)
        one_of("normalise", self.normalise, "sequence", "tokens", "budget")
        one_of("estimator", self.estimator, "k1", "k2", "k3")
        if self.estimator == "k1" and self.kl:
            raise ConfigError(
                "k1 as a loss has a gradient of mean zero: use k2 or k3, or put the KL into the reward (rloo)"
            )

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        r, g, v = scores.values, rollouts.group, scores.valid
        advantage = r - group_mean(r, g, v)
        if self.scale:
            advantage = advantage / (group_std(r, g, v) + 1e-4)
        advantage = advantage.masked_fill(~v, 0.0)
        weight = rollouts.mask.float() * v[:, None]
        if self.normalise == "sequence":
            weight = weight / rollouts.length.clamp(min=1)[:, None]
        elif self.normalise == "tokens":
            weight = per_token(weight)
        else:
            # Pictures take as many steps as there are.
            weight = weight / getattr(rollouts.sampling, "max_new_tokens", weight.shape[1])
        surrogate = partial(clipped, low=self.clip, high=self.clip if self.clip_high is None else self.clip_high)
        terms = [Term(surrogate, advantage[:, None].expand_as(weight), weight)]
        if self.kl:
            assert rollouts.reference is not None
            terms.append(Term(partial(kl_to, kind=self.estimator), rollouts.reference, self.kl * weight))
        return terms


class GRPO(Rollout):
    """``A_i = (R_i - mean) / std`` of the group: group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300).

    Args:
        kl: weight of the KL to the reference, as a term of the loss; 0 needs no reference.
        clip: of the ratio. clip_high: upper clip, the same as `clip` if None.
        scale: divide by the group's standard deviation.
        normalise: "sequence", each answer's mean over its own tokens (the paper); "tokens", all tokens alike (DAPO);
            "budget", a constant length, which is unbiased in length (Dr. GRPO, arXiv 2503.20783, with scale=False).
        estimator: of the KL, k2 or k3.
    """

    def __init__(self, policy: Samples, reward: Reward, *, kl: float = 0.0, clip: float = 0.2, clip_high: float | None = None,
                 scale: bool = True, normalise: Normalise = "sequence", estimator: KLEstimator = "k3",
                 group_size: int = 8, sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, reward, GroupRelative(kl, clip, clip_high, scale, normalise, estimator),
                         group_size=group_size, sampling=sampling, **shared)  # fmt: skip
