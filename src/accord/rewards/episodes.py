"""Rewards of what a control policy did, step by step."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.policies.acting import Episode
from accord.rewards.reward import Reward
from accord.rewards.scores import Scores

Along = Callable[[Float[Tensor, "t d"], Tensor, Float[Tensor, "t d"]], Float[Tensor, "t"]]
"""(observation before, action, observation after) of all steps of an episode to what each is worth."""


def own_reward(*, completions: Sequence[Episode], **columns: Any) -> Scores:
    """What the environment itself pays: the return, with each step's reward."""
    return paid([e.rewards for e in completions])


def by_step(worth: Along) -> Reward:
    """A designer's reward, from a function of all steps of an episode at once."""

    def reward(*, completions: Sequence[Episode], **columns: Any) -> Scores:
        return paid([worth(e.observations[:-1], e.actions, e.observations[1:]) for e in completions])

    reward.__name__ = getattr(worth, "__name__", "by_step")
    return reward


def potential(phi: Callable[[Float[Tensor, "s d"]], Float[Tensor, "s"]], gamma: float = 0.99) -> Reward:
    """``gamma Phi(s') - Phi(s)``, Phi 0 at an episode's end: added to a reward it changes no best policy (Ng et al. 1999).

    To REINFORCE it is the baseline Phi(s), and nothing more.
    """

    def reward(*, completions: Sequence[Episode], **columns: Any) -> Scores:
        found = []
        for e in completions:
            values = phi(e.observations[:-1])
            found.append(gamma * torch.cat([values[1:], values.new_zeros(1)]) - values)
        return paid(found)

    return reward


def paid(steps: Sequence[Float[Tensor, "t"]]) -> Scores:
    """Scores of episodes by what each of their steps is worth."""
    return Scores.of(
        torch.stack([s.sum() for s in steps]), steps=torch.nn.utils.rnn.pad_sequence(list(steps), batch_first=True)
    )
