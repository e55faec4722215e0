"""ACRE: GRPO that pays in full only for reasoning which still leads to the right option when the options are shuffled."""

from typing import Any, Literal, Unpack

from accord.algorithms.rollout.grpo import GroupRelative
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.policies.capabilities import Samples
from accord.rewards import AnswerConsistency, Reward


class ACRE(Rollout):
    """``R = form + alpha_1 u w + alpha_2 u (1 - w) + alpha_3 (1 - u) w`` and GRPO: u says whether the answer is right, w whether the policy's
    answer after the same reasoning is, once the options have changed places. A trace is worth p(right | trace) at two orders, where
    accuracy pays for one (Huang et al. 2025, arXiv 2510.10104).

    Args:
        plain: a reward for questions without options, in [0, 1].
        alphas: alpha_1 >= alpha_2 >= alpha_3 >= 0; (1, 1, 0) is accuracy.
        form: added where a completion has both parts, and only those. again: so many shuffled readings, whose mean counts.
        layout: "tags", ``<think>…</think><answer>…</answer>``; "sentence", reasoning and then "the answer is …".
        choices: column of the options, in the order of their letters and as the prompt words them; None reads them off the prompt, where each
            stands behind its letter, "(A) …" or "A. …". answer: column of the right one, or of its letter.
        without_last: read again without the reasoning's last sentence, which often names a letter.
        kl: weight of the KL to the reference. clip: of the ratio.
    """

    def __init__(self, policy: Samples, plain: Reward | None = None, *, alphas: tuple[float, float, float] = (1.0, 0.5, 0.2),
                 form: float = 0.5, again: int = 1, layout: Literal["tags", "sentence"] = "tags", choices: str | None = None,
                 answer: str = "answer", without_last: bool = False, kl: float = 0.04, clip: float = 0.2, group_size: int = 8,
                 sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        reward = AnswerConsistency(policy, alphas, form=form, again=again, layout=layout, choices=choices, answer=answer, plain=plain,
                                   without_last=without_last)  # fmt: skip
        super().__init__(policy, reward, GroupRelative(kl, clip), group_size=group_size, sampling=sampling, **shared)
