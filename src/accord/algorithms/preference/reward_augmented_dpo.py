"""DPO-RA: each scored pair twice, once asked for the better one's score and once for the other's."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from jaxtyping import Float
from torch import Tensor

from accord.algorithms.base import Given
from accord.algorithms.preference.dpo import DPO
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Kept
from accord.engine import Rows, Step
from accord.errors import FeedbackError, wanted
from accord.feedback import Comparison, asked_for, reward_augmented
from accord.feedback.goals import SCORES, Goal
from accord.policies.capabilities import Likelihood


class RewardAugmentedDPO(DPO):
    """``-log s(beta (h(c | x, r_c) - h(r | x, r_c))) - log s(beta (h(r | x, r_r) - h(c | x, r_r)))``: DPO whose prompts ask for a score, and
    in which the answer that has it wins; at last the policy is asked for the best (Zhang et al. 2024, arXiv 2410.08067). What is good
    among rejected answers is not unlearned. A batch of pairs becomes one of twice as many; their scores are the columns `score_chosen` and
    `score_rejected`.

    Args:
        goal: writes the request for scores (`asked_for` without); use it with the best one when the policy is asked.
        best: the highest score that there is, as `asked_for` tells the policy.
        beta: strength of the tie to the reference, > 0. label_smoothing: probability in [0, 0.5) that a label is wrong.
    """

    def __init__(self, policy: Likelihood, *, goal: Goal | None = None, best: float = 10, beta: PerRow = 0.1, label_smoothing: PerRow = 0.0,
                 **shared: Unpack[Kept]) -> None:  # fmt: skip
        super().__init__(policy, beta=beta, label_smoothing=label_smoothing, **shared)
        wanted(goal is None or best == 10, "best belongs to the goal asked_for: say it in your own", best)
        self.goal = goal or partial(asked_for, best=best)

    rankings = False
    """Rankings don't serve: their pairs would lack scores."""

    @staticmethod
    def unfit(row: Any) -> str | None:
        """Why nothing can be learned from a record; None where something can."""
        if not isinstance(row, Comparison) or any(row.columns.get(name) is None for name in SCORES):
            return f"without {' and '.join(SCORES)}"
        return None if reward_augmented([row], lambda prompt, scores: prompt) else "its answers have the same score"

    def check(self, rows: Sequence[Any]) -> None:
        for i, row in enumerate(rows, 1):
            if why := self.unfit(row):
                raise FeedbackError(f"record {i}, {why}, teaches {type(self).__name__} nothing: leave it out")
        super().check(reward_augmented(rows, self.goal))

    def experience(self, batch: Rows, step: Step) -> Given:
        return super().experience(Rows(reward_augmented(batch, self.goal)), step)

    def evaluate(
        self, comparisons: Sequence[Comparison], batch_size: int = 8
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """As of other losses, of pairs that are asked for the better one's score."""
        return super().evaluate(reward_augmented(comparisons, self.goal)[0::2], batch_size)
