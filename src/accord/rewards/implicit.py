"""The reward that a policy itself implies."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from accord.errors import wanted
from accord.policies.base import Group
from accord.policies.capabilities import Likelihood
from accord.rewards.scores import Scores


class ImplicitReward:
    """``beta log(pi / pi_ref)`` of a completion, whole (`values`) and by step (`steps`): what DPO's optimum was rewarded for, up
    to a constant of the prompt (Rafailov et al. 2023, arXiv 2305.18290). No gradient.

    Args:
        policy: as it stands now; it may go on learning. reference: what it began as ("base"), or any policy.
        beta: that it was trained with, > 0. seed: of the draw at which a likelihood that is not exact looks.
    """

    def __init__(self, policy: Likelihood, reference: Likelihood | str = "base", *, beta: float = 0.1, seed: int = 0) -> None:  # fmt: skip
        wanted(beta > 0, "an implicit reward wants beta > 0", beta)
        self.policy = policy.freeze("now")
        self.reference = policy.freeze(reference) if isinstance(reference, str) else reference.freeze("now")
        self.beta, self.seed = beta, seed

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Any], completions: Any, group: Sequence[int], **columns: Any) -> Scores:
        groups = [
            Group(prompts[rows[0]], tuple(completions[i] for i in rows))
            for _, run in groupby(range(len(prompts)), key=lambda i: group[i])
            for rows in [list(run)]
        ]
        draw = self.policy.draw(groups, self.seed)
        mine, theirs = (p.likelihood(groups, draw) for p in (self.policy, self.reference))
        steps = mine.with_reference(theirs.policy, theirs.per_step)
        by_step = None if steps.reference_per_step is None else (self.beta * steps.ratio_per_step).cpu()
        return Scores.of((self.beta * steps.ratio).cpu(), steps=by_step)
