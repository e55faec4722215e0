"""The gold of the room, read off where an episode went: whether it came to the goal, and how soon."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.policies.acting import Episode
from accord.rewards import Scores
from accord.worlds.room.places import COST, GOAL, MIDDLE, SUCCESS, Box, within


def gold(*, completions: Sequence[Episode], **columns: Any) -> Scores:
    """1 for the goal, less what the steps cost in its units. It is what the environment pays in sum, which methods may see: what is
    hidden in this world is whether a designer was right."""
    reached = torch.stack([_inside(e.observations[-1], GOAL) for e in completions])
    steps = torch.tensor([float(len(e.actions)) for e in completions])
    middle = torch.stack([_inside(e.observations[1:], MIDDLE).mean() for e in completions])
    return Scores.of(reached - COST / SUCCESS * steps, aspects={"reached": reached, "steps": steps, "middle": middle})


def _inside(places: Tensor, box: Box) -> Tensor:
    return within(places[..., 0], places[..., 1], box).float()
