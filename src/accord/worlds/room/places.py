"""What lies where in the room, in a square of side 1."""

from typing import Any

Box = tuple[tuple[float, float], tuple[float, float]]

START = (0.125, 0.125)
GOAL: Box = ((0.75, 0.99), (0.75, 0.99))
MIDDLE: Box = ((0.3, 0.7), (0.3, 0.7))
MOVE, STEPS = 0.08, 50
SUCCESS, COST = 100.0, 0.1
"""What the goal pays, and what each step costs."""


def within(x: Any, y: Any, box: Box) -> Any:
    """Whether a place lies in a box; of floats or of tensors."""
    (left, right), (low, high) = box
    return (left <= x) & (x <= right) & (low <= y) & (y <= high)


def distance(x: Any, y: Any, box: Box) -> Any:
    """Squared, to the middle of a box."""
    return (x - sum(box[0]) / 2) ** 2 + (y - sum(box[1]) / 2) ** 2
