"""An on-policy method is a way to assign credit: from scores of episodes to terms of a loss.

Credit is computed once, on the whole gathered batch, before it is cut into minibatches. Weights carry a method's
normalisation: the loss of a batch is ``sum_terms sum_nt weight * surrogate / E``, E its number of episodes (that count:
those without any weight are left out of the sum and of E alike, so weights are means over what is trained on).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord import losses
from accord.errors import ConfigError, one_of, wanted
from accord.losses.policy_gradient import KLEstimator
from accord.policies.base import Rollouts
from accord.rewards import Scores

Surrogate = Callable[[Float[Tensor, "n t"], Rollouts, Float[Tensor, "n *t"]], Float[Tensor, "n *t"]]
"""(new log-probs or values, the rollouts, the advantage or target) to a loss at each step, or of each episode."""


@dataclass(frozen=True)
class Term:
    """One summand of a loss.

    Attributes:
        surrogate: the loss of each step or episode. of: what it is a function of, the policy's log-probs or the
            critic's values.
        advantage: its constant: an advantage, a return to regress to, the reference's log-probs, a reward.
        weight: what each step or episode counts for, 0 where it does not.
    """

    surrogate: Surrogate
    advantage: Float[Tensor, "n *t"]
    weight: Float[Tensor, "n *t"]
    of: Literal["logprobs", "values"] = "logprobs"

    def select(self, rows: Sequence[int]) -> "Term":
        index = list(rows)
        return replace(self, advantage=self.advantage[index], weight=self.weight[index])

    def within(self, here: Bool[Tensor, "n t"]) -> "Term":
        """Only these steps count."""
        return replace(self, weight=self.weight * here)

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


def clipped(logprobs: Tensor, rollouts: Rollouts, advantage: Tensor, low: float = 0.2, high: float = 0.2) -> Tensor:
    return losses.clipped_surrogate(logprobs, rollouts.logprobs, advantage, low, high)


def kl_to(logprobs: Tensor, rollouts: Rollouts, reference: Tensor, kind: KLEstimator = "k3") -> Tensor:
    return losses.kl_estimate(logprobs, reference, kind)


def value_error(values: Tensor, rollouts: Rollouts, returns: Tensor, clip: float = 0.2) -> Tensor:
    assert rollouts.values is not None
    return losses.clipped_value_loss(values, rollouts.values, returns, clip)


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
            total = total - self.kl * losses.masked_sum(_k1(rollouts), mask, -1)
        advantage = (total - leave_one_out(total, rollouts.group, scores.valid)).masked_fill(~scores.valid, 0.0)
        weight = mask.float() * scores.valid[:, None]
        return [Term(partial(clipped, low=self.clip, high=self.clip), advantage[:, None].expand_as(weight), weight)]


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
    normalise: Literal["sequence", "tokens", "budget"] = "sequence"
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
            weight = _per_token(weight)
        else:
            # Pictures take as many steps as there are.
            weight = weight / getattr(rollouts.sampling, "max_new_tokens", weight.shape[1])
        surrogate = partial(clipped, low=self.clip, high=self.clip if self.clip_high is None else self.clip_high)
        terms = [Term(surrogate, advantage[:, None].expand_as(weight), weight)]
        if self.kl:
            assert rollouts.reference is not None
            terms.append(Term(partial(kl_to, kind=self.estimator), rollouts.reference, self.kl * weight))
        return terms


@dataclass(frozen=True)
class TokenGAE:
    """PPO for language (Ziegler et al. 2019): reward at the last token, ``-kl log(pi/pi_ref)`` at each, GAE, a critic.

    Attributes:
        whiten: advantages to mean 0, variance 1 over the batch.
        value_weight: of the critic's loss.
    """

    kl: float = 0.05
    clip: float = 0.2
    value_clip: float = 0.2
    value_weight: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    needs_critic = True

    def __post_init__(self) -> None:
        wanted(min(self.kl, self.value_weight) >= 0 < min(self.clip, self.value_clip) and 0 <= self.gamma <= 1 and 0 <= self.lam <= 1,
               "GAE wants kl and value_weight >= 0, clips > 0, gamma and lam in [0, 1]", self)  # fmt: skip

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        assert rollouts.values is not None
        mask = rollouts.mask & scores.valid[:, None]
        rewards = -self.kl * _k1(rollouts) if self.kl else torch.zeros_like(rollouts.logprobs)
        steps = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * (steps + 1)).amax(-1) - 1
        has = last >= 0
        rewards[has, last[has]] += scores.values[has]
        advantage, returns = losses.gae(rewards.masked_fill(~mask, 0.0), rollouts.values, mask, self.gamma, self.lam)
        if self.whiten:
            advantage = losses.masked_whiten(advantage, mask)
        # Every token of the batch counts the same.
        weight = _per_token(mask.float())
        return [
            Term(partial(clipped, low=self.clip, high=self.clip), advantage, weight),
            Term(partial(value_error, clip=self.value_clip), returns, self.value_weight * weight, of="values"),
        ]


@dataclass(frozen=True)
class BestOfGroup:
    """RAFT (Dong et al. 2023, arXiv 2304.06767): imitate the winners, ``-log pi(y)`` of the best of each group.

    Attributes:
        select: "prompt" keeps the best answer of each prompt; "batch" the best ``1/group size`` of all answers.
        kl: weight of ``log(pi/pi_0)`` that is taken off the score before ranking.
    """

    select: Literal["prompt", "batch"] = "prompt"
    kl: float = 0.0
    needs_critic = False

    def __post_init__(self) -> None:
        wanted(self.kl >= 0, "ranking wants kl >= 0", self)
        one_of("select", self.select, "prompt", "batch")

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        total = scores.values
        if self.kl:
            total = total - self.kl * losses.masked_sum(_k1(rollouts), rollouts.mask, -1)
        choose = best_per_prompt if self.select == "prompt" else best_of_batch
        won = choose(total, rollouts.group, scores.valid)
        weight = rollouts.mask.float() * won[:, None]
        # The mean over winners' tokens, as supervised training takes it.
        weight = _per_token(weight)
        return [Term(imitate, torch.ones_like(weight), weight)]


def best_per_prompt(values: Float[Tensor, "n"], group: Int[Tensor, "n"], valid: Bool[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """One winner a group, the valid one with the highest value; none where no member is valid.

    Ties fall to whichever comes first: samples of a group are exchangeable, so that favours nothing.
    """
    won = torch.zeros_like(valid)
    for g in group.unique().tolist():
        members = ((group == g) & valid).nonzero()[:, 0]
        if len(members):
            won[members[values[members].argmax()]] = True
    return won


def best_of_batch(values: Float[Tensor, "n"], group: Int[Tensor, "n"], valid: Bool[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """As many winners as there are groups, the highest of all valid values."""
    won = torch.zeros_like(valid)
    ranked = values.masked_fill(~valid, float("-inf")).argsort(descending=True, stable=True)
    won[ranked[: min(len(group.unique()), int(valid.sum()))]] = True
    return won


def _per_token(weight: Float[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """Weights under which a mean over the counted episodes is a mean over their tokens."""
    return weight * (weight != 0).any(-1).sum() / weight.sum().clamp(min=1)


def _k1(rollouts: Rollouts) -> Float[Tensor, "n t"]:
    assert rollouts.reference is not None
    return losses.kl_estimate(rollouts.logprobs, rollouts.reference, "k1")
