"""Supervised fine-tuning."""

from typing import Any

from accord.algorithms.base import Given, PolicyAlgorithm
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import FeedbackError
from accord.feedback import Comparison, Example
from accord.policies.base import Group


class Supervised(PolicyAlgorithm):
    """``-log pi(y|x)`` for each step of given completions: examples, or the chosen side of comparisons."""

    rows = (Example, Comparison)

    def group(self, row: Example | Comparison) -> Group:
        return Group(row.prompt, (_target(row),))

    def experience(self, batch: Rows, step: Step) -> Given:
        groups = [self.group(r) for r in batch]
        return Given(batch, groups, self.drawn(groups, step))

    def forward(self, rows: Given) -> Loss:
        found = self.policy.likelihood(rows.groups, rows.draw)
        steps = float(found.length.sum())
        return Loss(-found.policy.sum(), steps, {"nll": Mean(-float(found.policy.detach().sum()), steps)})


def _target(record: object) -> Any:
    if isinstance(record, Example):
        return record.completion
    if isinstance(record, Comparison):
        return record.chosen
    raise FeedbackError(f"SFT wants examples (prompt and completion) or comparisons, not a {type(record).__name__}")
