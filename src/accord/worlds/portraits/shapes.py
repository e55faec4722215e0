"""Soft shapes on a batch of canvases: everything that the renderer draws with."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Number = float | Float[Tensor, "n 1 1"]
"""A length or place, the same for all pictures or one for each."""


@dataclass(frozen=True)
class Canvas:
    """Coordinates of every pixel: x to the right and y upwards, both in [-1, 1]; `pixel` is one pixel's width.

    A canvas can be moved, scaled and turned: shapes then draw in the frame of what stands there.
    """

    x: Float[Tensor, "n h w"]
    y: Float[Tensor, "n h w"]
    pixel: Number

    @classmethod
    def blank(cls, n: int, size: int, device: torch.device | str = "cpu") -> "Canvas":
        at = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
        y, x = torch.meshgrid(-at, at, indexing="ij")
        return cls(x.expand(n, size, size), y.expand(n, size, size), 2 / size)

    def placed(self, x: Number = 0.0, y: Number = 0.0, scale: Number = 1.0) -> "Canvas":
        """The frame of something of this scale whose origin stands at (x, y)."""
        return Canvas((self.x - x) / scale, (self.y - y) / scale, self.pixel / scale)

    def turned(self, angle: Number) -> "Canvas":
        """The frame turned by an angle in radians about its origin."""
        angle = torch.as_tensor(angle)
        c, s = angle.cos(), angle.sin()
        return Canvas(c * self.x + s * self.y, c * self.y - s * self.x, self.pixel)

    def inside(self, distance: Float[Tensor, "n h w"], softness: float = 1.0) -> Float[Tensor, "n h w"]:
        """Coverage in [0, 1] from a signed distance (negative inside), smooth over a pixel."""
        return torch.sigmoid(distance * (-2.5 / softness) / self.pixel)

    def ellipse(self, x: Number, y: Number, a: Number, b: Number, softness: float = 1.0) -> Float[Tensor, "n h w"]:
        """Filled ellipse of half-axes a and b."""
        dx, dy = (self.x - x) / a, (self.y - y) / b
        r = (dx.square() + dy.square() + 1e-9).sqrt()
        slope = ((dx / a).square() + (dy / b).square() + 1e-9).sqrt() / r.clamp(min=1e-4)
        return self.inside((r - 1) / slope.clamp(min=1e-4), softness)

    def box(self, x: Number, y: Number, a: Number, b: Number, corner: Number = 0.0) -> Float[Tensor, "n h w"]:
        """Filled box of half-sides a and b with rounded corners."""
        dx, dy = (self.x - x).abs() - a + corner, (self.y - y).abs() - b + corner
        outer = (dx.clamp(min=0).square() + dy.clamp(min=0).square() + 1e-9).sqrt()
        return self.inside(outer + torch.maximum(dx, dy).clamp(max=0) - corner)

    def arc(self, x: Number, y: Number, a: Number, bend: Number, thick: Number) -> Float[Tensor, "n h w"]:
        """A stroke from x - a to x + a whose middle lies at y and whose ends rise by `bend`."""
        dx = (self.x - x) / a
        middle = y + bend * dx.clamp(-1, 1).square()
        ends = (dx.abs() - 1).clamp(min=0) * a
        return self.inside(((self.y - middle).square() + ends.square() + 1e-9).sqrt() - thick)

    def ring(self, x: Number, y: Number, a: Number, b: Number, thick: float) -> Float[Tensor, "n h w"]:
        """Outline of an ellipse."""
        return self.ellipse(x, y, a + thick, b + thick) * (1 - self.ellipse(x, y, a - thick, b - thick))


def mix(a: Float[Tensor, "*b"], b: Float[Tensor, "*b"], share: Float[Tensor, "*b"] | float) -> Float[Tensor, "*b"]:
    """a at share 0, b at share 1."""
    return a + (b - a) * share


def union(*alphas: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """Coverage of all of them together."""
    out = alphas[0]
    for alpha in alphas[1:]:
        out = torch.maximum(out, alpha)
    return out
