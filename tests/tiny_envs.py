"""Environments so small that what is right in them can be worked out."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from accord.policies.acting import Episode


class Arms(gymnasium.Env[int, int]):
    """One step: which of some arms is pulled decides what is paid."""

    def __init__(self, pays: Sequence[float] = (100.0, 0.0, 0.0, 0.0), first: int = 0) -> None:
        self.pays, self.first = tuple(pays), first
        self.observation_space, self.action_space = (
            gymnasium.spaces.Discrete(1),
            gymnasium.spaces.Discrete(len(pays), start=first),
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 0, self.pays[action - self.first], True, False, {}


class Push(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point on a line that starts anywhere, is pushed by at most 0.1, and shakes; the episode never ends by itself."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-0.1, 0.1, (1,), np.float32)
        self.at, self.told = 0.0, np.zeros(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-1, 1)
        return np.array([self.at], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.at += float(action[0]) + 0.01 * self.np_random.standard_normal()
        return np.array([self.at], np.float32), -abs(self.at), False, False, {}


def episode(pulled: int, paid: float) -> Episode:
    """One of `Arms`."""
    return Episode(torch.ones(2, 1), torch.tensor([pulled]), torch.tensor([paid]), True)
