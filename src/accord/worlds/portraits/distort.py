"""Spoilt pictures: what the reader of looks learns to tell from sound ones."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate


def twisted(
    images: Float[Tensor, "n 3 h w"], amount: Float[Tensor, "n"], g: torch.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Bend each picture by a smooth random field: parts of the face slip out of place.

    Args:
        amount: root mean square of the displacement, in pixels.
    """
    n, _, h, w = images.shape
    field = interpolate(torch.randn(n, 2, 6, 6, generator=g), size=(h, w), mode="bicubic", align_corners=False)
    field = field - field.mean((2, 3), keepdim=True)
    field = field / field.square().mean((1, 2, 3), keepdim=True).sqrt() * amount[:, None, None, None] * 2 / h
    grid = affine_grid(torch.eye(2, 3).expand(n, -1, -1), [n, 3, h, w], align_corners=False)
    return grid_sample(images, grid + field.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


def spoilt(
    images: Float[Tensor, "n 3 h w"], amount: Float[Tensor, "n"], g: torch.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Blur, noise and a colour cast in random shares that grow with the amount (about 0 to 1)."""
    n = len(images)
    share = torch.rand(3, n, 1, 1, 1, generator=g) * amount[:, None, None, None]
    blurred = avg_pool2d(images, 5, 1, 2, count_include_pad=False)
    cast = torch.randn(n, 3, 1, 1, generator=g) * 0.2
    noise = torch.randn(images.shape, generator=g) * 0.15
    return (images + share[0] * (blurred - images) + share[1] * noise + share[2] * cast).clamp(0, 1)
