"""A room to cross, as a gymnasium environment, with what three designers thought would help: one was right, one was wrong, one had no idea."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.worlds.room.env import Room
    from accord.worlds.room.gold import gold
    from accord.worlds.room.hints import camp, nothing, toward
    from accord.worlds.room.places import within
    from accord.worlds.room.starts import policy, starts
else:
    lazy(__name__)

__all__ = ["Room", "camp", "gold", "nothing", "policy", "starts", "toward", "within"]
