"""Inverse reinforcement learning: a reward from demonstrations, a policy from the reward, by turns."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from accord import losses
from accord.algorithms.rollout.grpo import GRPO
from accord.algorithms.rounds.irl import irl_pairs
from accord.algorithms.rounds.trainer import Round, RoundMethod
from accord.elsewhere import filled
from accord.engine import Algorithm, fit
from accord.errors import FeedbackError, one_of, wanted
from accord.feedback import Comparison, Example
from accord.policies.capabilities import SamplesWithStates
from accord.rewards import BradleyTerry, Reward, shaped
from accord.rewards.fitting import RewardFitting

Form = Literal["max-entropy", "airl", "gail", "fairl"]
FORMS: dict[str, Callable[[Float[Tensor, "n"]], Float[Tensor, "n"]]] = {
    "max-entropy": lambda h: h,
    "airl": lambda h: h,
    "gail": softplus,
    "fairl": lambda h: -h * h.clamp(max=3.0).exp(),
}
"""What an answer is worth, of how much likelier the reward finds it among demonstrations than among the policy's answers (log-odds)."""


class Telling(RewardFitting):
    """``-log D(demonstration) - log(1 - D(answer))``, D = sigmoid(h): which of them was shown, each seen alone."""

    def _comparisons(self, rows: list[Comparison], parts: list[Tensor]) -> Float[Tensor, "n"]:
        shown, own = torch.stack(parts)[..., 0].unbind(-1)
        return losses.pairwise(shown) + losses.pairwise(-own)


class InverseRL(RoundMethod):
    """``max_h min_pi E_shown[h] - E_pi[h] + kl KL(pi || pi_0)``: each round a reward learns to tell demonstrations from the policy's own
    answers, and GRPO follows it: the common core of inverse RL for language models (Sun and van der Schaar 2025, arXiv 2507.13158).
    The forms differ in how h learns, and in what they bring closer, as the policy is worth where h is exact:

    - "max-entropy": ``-log s(h(shown) - h(own))`` within a prompt, the policy ``pi ~ pi_0 exp(h / kl)``;
    - "airl": h by cross-entropy, E_pi[h] = -KL(pi || shown), which seeks modes;
    - "gail": -log(1 - D) of the same, Jensen-Shannon;
    - "fairl": -h exp(h), -KL(shown || pi), which covers all that was shown, as imitation does.

    Demonstrations are examples, or the chosen sides of comparisons.

    Args:
        form: of these. rounds: how many, each with demonstrations of its own.
        epochs: of a round's reward, over its demonstrations and as many answers. reward_lr: its step size.
        kl: weight of GRPO's KL to the policy as it began. group_size: answers to each prompt. sampling: how they are drawn.
    """

    rows = (Example, Comparison)  # type: ignore[assignment]
    needs_reference = True

    def __init__(self, policy: SamplesWithStates, *, form: Form = "max-entropy", rounds: int = 2, epochs: int = 4, reward_lr: float = 1e-3,
                 kl: float = 0.04, group_size: int = 4, sampling: Any = None) -> None:  # fmt: skip
        super().__init__(policy, rounds)
        one_of("form", form, *FORMS)
        wanted(epochs >= 1 and reward_lr > 0 <= kl and group_size >= 2, "inverse RL wants epochs >= 1, reward_lr > 0, kl >= 0, group_size >= 2",
               (epochs, reward_lr, kl, group_size))  # fmt: skip
        self.form, self.epochs, self.reward_lr, self.kl, self.group_size = form, epochs, reward_lr, kl, group_size
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")

    def build(self, now: Round, rows: Sequence[Example | Comparison]) -> tuple[Algorithm, Sequence[Example]]:
        shown = [
            r if isinstance(r, Example) else Example(prompt=r.prompt, completion=r.chosen, columns=r.columns)
            for r in rows
        ]
        reward = self.learned(now, irl_pairs(now.snapshots[-1], shown, self.sampling, seed=now.seed))
        policy: Any = now.policy
        return GRPO(policy, reward, kl=self.kl, reference=now.snapshots[0], group_size=self.group_size, sampling=self.sampling), shown  # fmt: skip

    def learned(self, now: Round, pairs: Sequence[Comparison]) -> Reward:
        """What tells demonstrations from answers, on a copy of the policy as it is.

        Raises:
            FeedbackError: the policy answers just as it was shown.
        """
        if not pairs:
            raise FeedbackError("inverse RL has nothing to tell apart: the policy's answers are the demonstrations")
        policy: Any = now.policy
        told = BradleyTerry.load(copy.deepcopy(policy.model), tokenizer=policy.tokeniser.inner, device=policy.device)
        kind = RewardFitting if self.form == "max-entropy" else Telling
        fit(kind(told), pairs, epochs=self.epochs, batch_size=16, lr=self.reward_lr, seed=now.seed, progress=False)  # fmt: skip
        return shaped(told.eval(), lambda h, prompts: FORMS[self.form](h), self.form)
