"""Small generative problems whose true reward is known. Only worlds and reproductions may read a gold."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.worlds import letters, portraits, room
else:
    lazy(__name__)

__all__ = ["letters", "portraits", "room"]
