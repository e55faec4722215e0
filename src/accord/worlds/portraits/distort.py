"""Pictures that are no sound portraits: spoilt ones, from which the reader of looks learns, and tries to fool a reader."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from accord.worlds.portraits.people import People
from accord.worlds.portraits.render import render


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


def climbed(
    images: Float[Tensor, "n 3 h w"],
    reward: Callable[[Tensor], Float[Tensor, "n"]],
    *,
    size: float = 8 / 255,
    steps: int = 20,
) -> Float[Tensor, "n 3 h w"]:
    """Pictures that climb a differentiable reward, no pixel going farther than `size` (PGD, Madry et al. 2017, arXiv 1706.06083)."""
    x = images
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(reward(x).sum(), x)
        x = (x + 2.5 * size / steps * gradient.sign()).detach()
        x = (images + (x - images).clamp(-size, size)).clamp(0, 1)
    return x


def coloured(people: People) -> Float[Tensor, "n 3 64 64"]:
    """All that prompts can say of colours, and nobody: the wall, with bars where hat and clothes would be."""
    picture = render(people)
    image = picture.ground.clone()
    for part, rows in (("hat", slice(8, 18)), ("clothes", slice(54, 64))):
        mask = picture.masks[part].flatten(1)
        colour = (picture.image.flatten(2) * mask[:, None]).sum(-1) / mask.sum(-1, keepdim=True).clamp(min=1e-6)
        worn = (mask.amax(-1) > 0.5)[:, None, None, None]
        image[:, :, rows] = torch.where(worn, colour[..., None, None], image[:, :, rows])
    return image
