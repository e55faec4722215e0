"""What SCIR learns by: a policy's two opinions of its own answers, made to agree, label the pairs on which they do."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from accord import losses
from accord.algorithms.base import Given, PolicyAlgorithm
from accord.algorithms.reference import Reference, Which
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import wanted
from accord.feedback import Comparison
from accord.policies.base import Group
from accord.rewards import PairJudge, PolicyJudge
from accord.rewards.asking import Generative
from accord.rewards.judge import COMPARE, Template

FAR = 15.0
"""Beyond these log-odds an opinion is sure, and a divergence of surer ones would drown the rest."""


@dataclass(frozen=True)
class Unlabelled(Given):
    """Pairs with their log-probs under the model that the implicit reward compares with."""

    before: Float[Tensor, "g k"] | None = None


class SelfConsistency(PolicyAlgorithm):
    """``1[all agree] (-log s(beta d)) + weight (divergence of the opinions + eta their entropy)`` on pairs whose labels are not looked at:
    the opinions are the policy's as a judge, asked in both orders, and its implicit reward; both learn, and where they agree on a pair
    in this very step, DPO learns from it: a round of `SCIR` (Zhou et al. 2025, arXiv 2502.08922).

    Args:
        before: a model before any training on preferences, which the implicit reward compares with.
        reference: what DPO compares with; the policy as the round finds it.
        beta: of DPO. sharpness: of the implicit reward, on mean log-ratios by token, so that long answers don't win by length.
        weight: of the inconsistency. eta: of the entropy in it.
        template, labels: how the policy is asked as a judge; see `PairJudge`.
    """

    rows = (Comparison,)
    needs_reference = True

    def __init__(self, policy: Generative, before: Which, *, reference: Which = "now", beta: float = 0.1, sharpness: float = 1.0,
                 weight: float = 1.0, eta: float = 0.1, template: Template = COMPARE, labels: tuple[str, str] = ("A", "B")) -> None:  # fmt: skip
        super().__init__(policy)
        wanted(
            min(beta, sharpness) > 0 <= min(weight, eta),
            "SelfConsistency wants beta and sharpness > 0, weight and eta >= 0",
            (beta, sharpness, weight, eta),
        )
        self.beta, self.sharpness, self.weight, self.eta = beta, sharpness, weight, eta
        self.reference = Reference(policy, reference)
        self.before = Reference(policy, before)
        self.judge = PairJudge(PolicyJudge(policy, trains=True), template, labels)

    def group(self, row: Comparison) -> Group:
        return Group(row.prompt, (row.chosen, row.rejected))

    def experience(self, batch: Rows, step: Step) -> Unlabelled:
        groups = [self.group(r) for r in batch]
        given = self.given(batch, groups, step)
        before = self.before(groups, given.draw, step).policy.reshape(len(groups), -1)
        return Unlabelled(**{**vars(given), "before": before})

    def forward(self, pairs: Unlabelled) -> Loss:
        found = self.likelihood(pairs)
        assert pairs.before is not None
        told = self.opinions(pairs, found, pairs.before)
        apart = losses.inconsistency(told, self.eta)
        first = told.detach() > 0
        agreed = first.all(0) | ~first.any(0)
        lead = (found.ratio[0::2] - found.ratio[1::2]) * torch.where(first[0], 1.0, -1.0)
        each = losses.pairwise(self.beta * lead).masked_fill(~agreed, 0.0)
        # Pairs on which they differ have no part in DPO's mean; so that it doesn't change with the batch's cut, it is over all.
        total = each.sum() + self.weight * apart.sum()
        return Loss(total, float(len(pairs)), {"agreement": Mean.of(agreed.float()), "inconsistency": Mean.of(apart),
                                               "judge_first": Mean.of(torch.sigmoid(told[1].detach()))})  # fmt: skip

    def opinions(self, pairs: Unlabelled, found: losses.LogProbs, before: Float[Tensor, "g k"]) -> Float[Tensor, "2 n"]:
        """Log-odds that the first answer is the better: by the implicit reward, and by the judge."""
        implied = (found.policy - before.flatten().to(found.policy.device)) / found.length.clamp(min=1)
        implicit = self.sharpness * (implied[0::2] - implied[1::2])
        texts = [g.completions for g in pairs.groups]
        sure = self.judge.wins([g.prompt for g in pairs.groups], [t[0] for t in texts], [t[1] for t in texts])
        return torch.stack([implicit, torch.logit(sure.to(implicit), eps=1e-6)]).clamp(-FAR, FAR)
