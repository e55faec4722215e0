"""A model's own opinion of each word, by what it would write if it were asked for better, and for worse."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from accord.errors import ConfigError, FeedbackError
from accord.feedback import text_of, text_of_completion
from accord.policies.base import Group, Prompt
from accord.policies.capabilities import Likelihood
from accord.rewards.scores import Scores

BETTER = "{prompt}\n\nA draft of an answer:\n{completion}\n\nRevise the draft to be more helpful, correct, coherent and concise."
WORSE = "{prompt}\n\nA draft of an answer:\n{completion}\n\nRevise the draft to be more unhelpful, incorrect, incoherent and verbose."
"""The two requests differ in nothing but their direction."""


class ContrastivePrompt:
    """``s(log pi(y_t | better, y_<t) - log pi(y_t | worse, y_<t)) - 1/2`` of each step, in (-1/2, 1/2); `values` are their means.

    The token reward of T-REG (Zhou et al. 2024, arXiv 2412.02685). No gradient.

    Args:
        policy: as it stands now; it is asked, nobody else. better, worse: templates of what it is asked, with {prompt} and, if
            it is to see it, {completion}; of a conversation, they stand in the place of its last turn.
    """

    def __init__(self, policy: Likelihood, better: str = BETTER, worse: str = WORSE) -> None:
        for name, template in (("better", better), ("worse", worse)):
            if "{prompt}" not in template:
                raise ConfigError(f"the template {name!r} lacks {{prompt}}: {template!r}")
        self.policy, self.better, self.worse = policy.freeze("now"), better, worse

    @property
    def fingerprint(self) -> str:
        """What its values depend on beside the texts."""
        return f"{self.policy.fingerprint}:{self.better}:{self.worse}"

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        pairs = list(zip(prompts, completions, strict=True))
        better, worse = (
            self.policy.likelihood(_grouped([(_asked(t, p, c), c) for p, c in pairs]))
            for t in (self.better, self.worse)
        )
        odd = (better.length != worse.length).nonzero().flatten().tolist()
        if odd:
            raise FeedbackError(f"completion {odd[0] + 1} is written in other tokens after the two templates: end both with the same word")  # fmt: skip
        within = torch.arange(better.per_step.shape[-1], device=better.length.device) < better.length[:, None]
        steps = (torch.sigmoid(better.per_step - worse.per_step) - 0.5).masked_fill(~within, 0.0).cpu()
        return Scores.of(steps.sum(-1) / better.length.clamp(min=1).cpu(), steps=steps)


def _asked(template: str, prompt: Prompt, completion: Any) -> Prompt:
    said = template.replace("{completion}", text_of_completion(completion)).replace("{prompt}", text_of(prompt))
    return said if isinstance(prompt, str) else [*prompt[:-1], {**prompt[-1], "content": said}]


def _grouped(rows: list[tuple[Prompt, Any]]) -> list[Group]:
    """Neighbours that have the same prompt share it."""
    return [Group(some[0][0], tuple(c for _, c in some))
            for _, run in groupby(rows, key=lambda row: row[0]) for some in [list(run)]]  # fmt: skip
