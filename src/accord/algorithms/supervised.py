"""Supervised fine-tuning."""

from accord.algorithms.base import PolicyAlgorithm
from accord.engine import Loss, Mean, Rows
from accord.errors import FeedbackError
from accord.feedback import Comparison, Example
from accord.policies.base import Group


class Supervised(PolicyAlgorithm):
    """``-log pi(y|x)`` for each step of given completions: examples, or the chosen side of comparisons."""

    def forward(self, rows: Rows) -> Loss:
        found = self.policy.likelihood([Group(r.prompt, (_target(r),)) for r in rows])
        steps = float(found.length.sum())
        return Loss(-found.policy.sum(), steps, {"nll": Mean(-float(found.policy.detach().sum()), steps)})


def _target(record: object) -> str:
    if isinstance(record, Example):
        return record.completion
    if isinstance(record, Comparison):
        return record.chosen
    raise FeedbackError(f"SFT wants examples (prompt and completion) or comparisons, not a {type(record).__name__}")
