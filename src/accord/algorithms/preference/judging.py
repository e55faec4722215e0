"""How a language model learns to judge: which of two answers people preferred, said in one word."""

import torch

from accord import losses
from accord.algorithms.base import Given, PolicyAlgorithm
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import wanted
from accord.feedback import Comparison
from accord.policies.base import Group
from accord.policies.capabilities import Likelihood
from accord.rewards import PolicyJudge
from accord.rewards.judge import COMPARE, Template, filled


class Judging(PolicyAlgorithm):
    """``-log J(y_w, y_l) - log(1 - J(y_l, y_w)) + symmetry (J(y_w, y_l) + J(y_l, y_w) - 1)^2``, J the probability of the two labels that the
    answer shown first is the better: the generative judge of Pairwise-RL (Xu et al. 2025, arXiv 2504.04950), taught in both orders,
    so that it gets no liking for a place. Ask what it has learned by `PairJudge`.

    Args:
        template: the question, with {prompt}, {first} and {second}. labels: of the first and the second; each begins the answer.
        symmetry: weight of the penalty on verdicts that change with the order, at least 0.
    """

    rows = (Comparison,)

    def __init__(
        self,
        policy: Likelihood,
        *,
        template: Template = COMPARE,
        labels: tuple[str, str] = ("A", "B"),
        symmetry: float = 0.0,
    ) -> None:
        super().__init__(policy)
        wanted(symmetry >= 0, "judging wants symmetry >= 0", symmetry)
        self.template, self.labels, self.symmetry = template, labels, symmetry
        self.asked = PolicyJudge(policy, trains=True)  # type: ignore[arg-type]

    def group(self, row: Comparison) -> Group:
        return Group(filled(self.template, prompt=row.prompt, first=row.chosen, second=row.rejected), self.labels)

    def experience(self, batch: Rows, step: Step) -> Given:
        return Given(batch, [self.group(r) for r in batch])

    def forward(self, pairs: Given) -> Loss:
        other = [filled(self.template, prompt=r.prompt, first=r.rejected, second=r.chosen) for r in pairs.rows]
        odds = self.asked.choose([*(g.prompt for g in pairs.groups), *other], self.labels)
        right, wrong = (odds[:, 0] - odds[:, 1]).chunk(2)
        uneven = (torch.sigmoid(right) + torch.sigmoid(wrong) - 1).square()
        each = losses.pairwise(right) + losses.pairwise(-wrong) + self.symmetry * uneven
        return Loss(each.sum(), float(len(pairs)), {"accuracy": Mean.of((right.detach() > wrong.detach()).float()),
                                                    "uneven": Mean.of(uneven.detach())})  # fmt: skip
