"""Squares of two by two latents as one token."""

from jaxtyping import Float
from torch import Tensor


def packed(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n l d"]:
    """A token for each square, row by row; its channels' four places lie together."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Float[Tensor, "n l d"], height: int, width: int) -> Float[Tensor, "n c h w"]:
    """The latents, of this height and width."""
    squares = tokens.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
