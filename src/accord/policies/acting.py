"""Acting in an environment: how it is done, what comes of it, and the networks that read what is seen there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.batch import Batch, Padded
from accord.errors import ConfigError, ModelError
from accord.policies.meter import count

Env = str | Callable[[], Any]
"""A gymnasium id ("CartPole-v1", "module:id" where importing a module registers it), or a function that makes an environment."""


@dataclass(frozen=True)
class Acting:
    """How a policy acts.

    Attributes:
        steps: longest episode, where the environment doesn't end it before (> 0); None is what it says itself (`max_episode_steps`). greedy: the likeliest action (not for training).
    """

    steps: int | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"acting wants steps >= 1, but got {self.steps}")

    def check_trainable(self) -> None:
        """Raise ConfigError for settings under which importance ratios would be wrong."""
        if self.greedy:
            raise ConfigError("training wants actions that are drawn: leave greedy out (log-ratios would be wrong)")


@dataclass(frozen=True)
class Episode:
    """What happened, for rewards to read.

    Attributes:
        observations: one more than there are actions: the last is where it ended. rewards: the environment's own.
        terminated: it came to its end, and was not cut off.
    """

    observations: Float[Tensor, "s d"]
    actions: Tensor
    rewards: Float[Tensor, "t"]
    terminated: bool


@dataclass(frozen=True)
class Acted(Batch):
    """The payload of a control policy's rollouts."""

    observations: Padded[Float[Tensor, "n t d"]]
    actions: Padded[Tensor]


def gymnasium() -> Any:
    """The library; raises ModelError where it isn't installed."""
    try:
        import gymnasium
    except ImportError as error:
        raise ModelError('control needs gymnasium: pip install "accord[control]"') from error
    return gymnasium


def environment(env: Env) -> Any:
    """One of them, made; raises ModelError where there is none of that name."""
    gym = gymnasium()
    if not isinstance(env, str):
        return env()
    try:
        return gym.make(env, disable_env_checker=True)
    except (gym.error.Error, ImportError) as error:
        raise ModelError(f"there is no environment {env!r}: {str(error).splitlines()[0]}") from None


class Reader(nn.Module):
    """A small network that reads observations, whose bounded numbers it brings to [-1, 1]: layers with tanh between, the last one 0 at first."""

    centre: Tensor
    width: Tensor

    def __init__(
        self, centre: Float[Tensor, "d"], width: Float[Tensor, "d"], hidden: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre.detach().clone(), persistent=False)
        self.register_buffer("width", width.detach().clone(), persistent=False)
        sizes = [len(centre), *hidden]
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
        self.last = nn.Linear(sizes[-1], outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.layers = nn.Sequential(*layers)

    def forward(self, observations: Float[Tensor, "*n d"]) -> Float[Tensor, "*n o"]:
        count(self, observations[..., 0].numel(), backward=torch.is_grad_enabled())
        weight = self.last.weight
        x = (observations.to(weight.device) - self.centre) / self.width
        return self.last(self.layers(x.to(weight.dtype))).float()


def span(box: Any) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Middle and half width of each number, where it is bounded; else 0 and 1."""
    low, high = (torch.from_numpy(np.asarray(x, np.float64).ravel()) for x in (box.low, box.high))
    bounded = (high > low) & (high - low < 1e6)
    centre, width = torch.where(bounded, (low + high) / 2, 0.0), torch.where(bounded, (high - low) / 2, 1.0)
    return centre.float(), width.float()
