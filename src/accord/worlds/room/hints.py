"""What designers add to the room's reward, to help."""

import torch
from jaxtyping import Float
from torch import Tensor

from accord.rewards.episodes import by_step
from accord.worlds.room.places import GOAL, MIDDLE, distance, within

WORTH = 10.0
"""What a step in the middle pays by the one who was wrong: a tenth of what the goal does, again and again."""


def nearness(places: Float[Tensor, "s d"]) -> Float[Tensor, "s"]:
    """The less, the farther from the goal."""
    return -distance(places[:, 0], places[:, 1], GOAL)


def middling(places: Float[Tensor, "s d"]) -> Float[Tensor, "s"]:
    """Something in the middle of the room, which lies on the way."""
    return WORTH * within(places[:, 0], places[:, 1], MIDDLE).float()


@by_step
def toward(before: Float[Tensor, "t d"], action: Tensor, after: Float[Tensor, "t d"]) -> Float[Tensor, "t"]:
    """Right: it pays for being near the goal."""
    return nearness(after)


@by_step
def camp(before: Float[Tensor, "t d"], action: Tensor, after: Float[Tensor, "t d"]) -> Float[Tensor, "t"]:
    """Wrong: it pays for staying half way."""
    return middling(after)


@by_step
def nothing(before: Float[Tensor, "t d"], action: Tensor, after: Float[Tensor, "t d"]) -> Float[Tensor, "t"]:
    """No idea."""
    return torch.zeros(len(before))
