"""RAFT: imitate the best of what was sampled."""

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord import losses
from accord.algorithms.base import Given
from accord.algorithms.reference import Which
from accord.algorithms.rollout.credit import Term, imitate, log_ratio, per_token
from accord.algorithms.rollout.trainer import Credited, Cut, Rollout
from accord.algorithms.supervised import imitation, makes_pictures
from accord.engine import Loss, Rows, Step
from accord.errors import one_of, wanted
from accord.policies.base import Group, Rollouts
from accord.policies.capabilities import Samples
from accord.rewards import Reward, Scores


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
            total = total - self.kl * losses.masked_sum(log_ratio(rollouts), rollouts.mask, -1)
        choose = best_per_prompt if self.select == "prompt" else best_of_batch
        won = choose(total, rollouts.group, scores.valid)
        weight = rollouts.mask.float() * won[:, None]
        # The mean over winners' tokens, as supervised training takes it.
        weight = per_token(weight)
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


class RAFT(Rollout):
    """``-log pi(y)`` of the best answers: reward-ranked fine-tuning (Dong et al. 2023, arXiv 2304.06767).

    Each step is a stage, from the last one's weights. With `inner_epochs` of `Training` a stage goes over its winners often.
    Winning pictures are learned from by the denoising loss ``|target - output|^2`` on the latent that was drawn, at as many
    random levels as it took steps.

    Args:
        select: "prompt" keeps the best answer of each prompt; "batch" the best ``1/group_size`` of all answers.
        kl: weight of ``log(pi/pi_0)`` that is taken off the score before ranking.
        unfinished: answers cut at the length limit are dropped before ranking, unless told otherwise; see `Rollout`.
    """

    def __init__(self, policy: Samples, reward: Reward, *, select: Literal["prompt", "batch"] = "prompt", kl: float = 0.0,
                 group_size: int = 8, sampling: Any = None, reference: Which | None = "base",
                 unfinished: float | Literal["keep", "drop"] = "drop", **shared: Unpack[Cut]) -> None:  # fmt: skip
        super().__init__(policy, reward, BestOfGroup(select, kl), group_size=group_size, sampling=sampling, reference=reference,
                         unfinished=unfinished, **shared)  # fmt: skip

    def experience(self, batch: Rows, step: Step) -> Credited | Given:  # type: ignore[override]
        credited = super().experience(batch, step)
        won = credited.counts.nonzero()[:, 0].tolist()
        return self._pictures(credited.rollouts.select(won), step) if won and makes_pictures(self.policy) else credited

    def _pictures(self, won: Rollouts, step: Step) -> Given:
        """Winners as given pictures, each as often as it has levels to be looked at."""
        each = [i for i in range(len(won)) for _ in range(won.mask.shape[1])]
        asked, latents = won.prompt_of_each(), won.actions.latents[:, -1]
        groups = [Group(asked[i], (latents[i],)) for i in each]
        return Given(Rows(groups), groups, self.drawn(groups, step))

    def forward(self, batch: Credited | Given) -> Loss:
        return imitation(self.likelihood(batch), pictures=True) if isinstance(batch, Given) else super().forward(batch)
