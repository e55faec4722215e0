"""An on-policy method is a way to assign credit: from scores of episodes to terms of a loss.

Credit is computed once, on the whole gathered batch, before it is cut into minibatches. Weights carry a method's
normalisation: the loss of a batch is ``sum_terms sum_nt weight * surrogate / E``, E its number of episodes (that count:
those without any weight are left out of the sum and of E alike, so weights are means over what is trained on).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord import losses
from accord.engine.batch import Batch, Whole
from accord.losses.policy_gradient import KLEstimator
from accord.policies.base import Rollouts
from accord.rewards import Scores

Surrogate = Callable[[Float[Tensor, "n t"], Rollouts, Float[Tensor, "n *t"]], Float[Tensor, "n *t"]]
"""(new log-probs or values, the rollouts, the advantage or target) to a loss at each step, or of each episode."""


@dataclass(frozen=True)
class Term(Batch):
    """One summand of a loss.

    Attributes:
        surrogate: the loss of each step or episode. of: what it is a function of, the policy's log-probs or the
            critic's values.
        advantage: its constant: an advantage, a return to regress to, the reference's log-probs, a reward.
        weight: what each step or episode counts for, 0 where it does not.
    """

    surrogate: Whole[Surrogate]
    advantage: Float[Tensor, "n *t"]
    weight: Float[Tensor, "n *t"]
    of: Whole[Literal["logprobs", "values"]] = "logprobs"

    def within(self, here: Bool[Tensor, "n t"]) -> "Term":
        """Only these steps count."""
        return replace(self, weight=self.weight * here)

    def weighed(self, ratio: Float[Tensor, "n t"]) -> "Term":
        """Steps count for so much more or less; an episode that counts as one, for the product of its steps."""
        if self.of != "logprobs":
            return self
        return replace(self, weight=self.weight * (ratio if self.weight.ndim > 1 else ratio.prod(-1)))

    def narrowed(self, steps: int) -> "Term":
        """Without the padding beyond so many steps."""
        cut = {k: v[:, :steps] for k in ("advantage", "weight") if (v := getattr(self, k)).ndim > 1}
        return replace(self, **cut)


class Credit(Protocol):
    """From scores to terms.

    Class attributes may say more: `least_group` (answers of a prompt without which there is no gradient), `needs_critic`,
    `needs_reference` (as `kl` above 0 does), `couples_group` (a term looks at
    all episodes of a prompt together), `couples_steps` (at all steps of an episode); `state` and `load_state` keep
    what is carried from batch to batch.
    """

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]: ...


# The surrogates that terms name.


def imitate(logprobs: Tensor, rollouts: Rollouts, advantage: Tensor) -> Tensor:
    return losses.score_function(logprobs, advantage)


def clipped(logprobs: Tensor, rollouts: Rollouts, advantage: Tensor, low: float = 0.2, high: float = 0.2,
            dual: float = float("inf")) -> Tensor:  # fmt: skip
    return losses.clipped_surrogate(logprobs, rollouts.logprobs, advantage, low, high, dual)


def kl_to(logprobs: Tensor, rollouts: Rollouts, reference: Tensor, kind: KLEstimator = "k3") -> Tensor:
    return losses.kl_estimate(logprobs, reference, kind, rollouts.averaged)


# Statistics within groups.


def group_mean(x: Float[Tensor, "n"], group: Int[Tensor, "n"], valid: Bool[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The mean of each one's group, over its valid members."""
    return _sum(x, group, valid) / _sum(torch.ones_like(x), group, valid).clamp(min=1)


def group_std(x: Float[Tensor, "n"], group: Int[Tensor, "n"], valid: Bool[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The sample standard deviation of each one's group; 0 for a group of one."""
    count = _sum(torch.ones_like(x), group, valid)
    squares = _sum((x - group_mean(x, group, valid)).square(), group, valid)
    return (squares / (count - 1).clamp(min=1)).sqrt()


def leave_one_out(x: Float[Tensor, "n"], group: Int[Tensor, "n"], valid: Bool[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The mean of the other valid members of each one's group; x itself where there are none."""
    others = (_sum(torch.ones_like(x), group, valid) - 1).clamp(min=0)
    mean = (_sum(x, group, valid) - x) / others.clamp(min=1)
    return torch.where(others > 0, mean, x)


def _sum(x: Tensor, group: Tensor, valid: Tensor) -> Tensor:
    out = torch.zeros(int(group.max()) + 1, dtype=x.dtype, device=x.device)
    return out.index_add_(0, group, x.masked_fill(~valid, 0.0))[group]


def per_token(weight: Float[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """Weights under which a mean over the counted episodes is a mean over their tokens."""
    return weight * (weight != 0).any(-1).sum() / weight.sum().clamp(min=1)


def log_ratio(rollouts: Rollouts) -> Float[Tensor, "n t"]:
    """``log pi / pi_ref`` of what was sampled."""
    assert rollouts.reference is not None
    return losses.kl_estimate(rollouts.logprobs, rollouts.reference, "k1")


def paired_rewards(scores: Scores, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """Rewards (those that don't apply as NaN: no pair has them) and weights under which every prompt's mean over pairs
    counts the same."""
    rewards = scores.values.masked_fill(~scores.valid, float("nan"))
    a, b = losses.better_and_worse(rewards, rollouts.group)
    paired = torch.zeros_like(scores.valid)
    paired[a] = paired[b] = True
    prompts = max(1, len(rollouts.group[paired].unique()))
    return rewards, paired.float() * (paired.sum() / prompts)
