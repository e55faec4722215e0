"""Supervised fine-tuning."""

from typing import Any

from accord.algorithms.base import Given, PolicyAlgorithm
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import FeedbackError
from accord.feedback import Comparison, Example
from accord.losses import LogProbs
from accord.policies.base import Group
from accord.policies.capabilities import Differentiable, Likelihood, lacking


class Supervised(PolicyAlgorithm):
    """SFT: ``-log pi(y|x)`` for each step of given completions: examples, or the chosen side of comparisons.

    The first stage of InstructGPT (Ouyang et al. 2022, arXiv 2203.02155); of pictures, the plain denoising loss
    ``|target - output|^2``.
    """

    rows = (Example, Comparison)

    def __init__(self, policy: Likelihood) -> None:
        super().__init__(policy)

    def group(self, row: Example | Comparison) -> Group:
        return Group(row.prompt, (_target(row),))

    def experience(self, batch: Rows, step: Step) -> Given:
        return self.given(batch, [self.group(r) for r in batch], step)

    def forward(self, rows: Given) -> Loss:
        return imitation(self.likelihood(rows), pictures=makes_pictures(self.policy))


def makes_pictures(policy: Any) -> bool:
    """Whether it denoises: then a likelihood is a surrogate for a denoising error."""
    return not lacking(policy, Differentiable)


def imitation(found: LogProbs, *, pictures: bool) -> Loss:
    """The supervised loss of completions with this likelihood."""
    each = found.error if pictures else -found.policy
    steps = float(found.length.sum())
    return Loss(each.sum(), steps, {"error" if pictures else "nll": Mean(float(each.detach().sum()), steps)})


def _target(record: object) -> Any:
    if isinstance(record, Example):
        return record.completion
    if isinstance(record, Comparison):
        return record.chosen
    raise FeedbackError(f"SFT wants examples (prompt and completion) or comparisons, not a {type(record).__name__}")
