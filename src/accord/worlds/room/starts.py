"""Who acts in the room, and where it starts."""

from accord.feedback import Task
from accord.policies.acting import gymnasium
from accord.policies.control import ControlPolicy


def starts(n: int) -> list[Task]:
    """Names of n starts; in this room all of them are one corner."""
    return [Task(prompt=f"start {i}") for i in range(n)]


def policy(seed: int = 0) -> ControlPolicy:
    """A fresh one, which moves at random; raises ModelError where gymnasium isn't installed."""
    gymnasium()
    from accord.worlds.room import env

    return ControlPolicy(f"{env.__name__}:{env.ID}", seed=seed)
