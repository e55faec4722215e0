"""The room itself: a point, four moves of which one in ten slips, and a goal across; after Gupta et al. 2023 (arXiv 2310.19007)."""

from typing import Any

import gymnasium
import numpy as np

from accord.worlds.room.places import COST, GOAL, MOVE, START, STEPS, SUCCESS, within

MOVES = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
ID = "accord/Room-v0"


class Room(gymnasium.Env[np.ndarray, int]):
    """Pays at the goal, which ends the episode, and costs a little at each step.

    Args:
        move: length of a step. slip: probability that some move is made in place of the one that was meant.
    """

    def __init__(self, move: float = MOVE, slip: float = 0.1) -> None:
        self.move, self.slip, self._at = move, slip, START
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space: Any = gymnasium.spaces.Discrete(len(MOVES))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._at = START
        return self._seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.np_random.random() < self.slip:
            action = int(self.np_random.integers(len(MOVES)))
        (x, y), (dx, dy) = self._at, MOVES[action]
        self._at = min(1.0, max(0.0, x + self.move * dx)), min(1.0, max(0.0, y + self.move * dy))
        there = within(*self._at, GOAL)
        return self._seen(), SUCCESS * there - COST, there, False, {}

    def _seen(self) -> np.ndarray:
        return np.array(self._at, np.float32)


if ID not in gymnasium.registry:
    gymnasium.register(ID, "accord.worlds.room.env:Room", max_episode_steps=STEPS)
