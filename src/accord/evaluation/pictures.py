"""Surface measures of pictures and clips."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from accord.engine.run import write_bytes

STRIP = 8
"""Frames of a clip that its strip shows."""


def diversity(images: Float[Tensor, "n *frames 3 h w"] | Sequence[Tensor]) -> float:
    """Mean root mean square distance between two of the pictures, or clips (slightly blurred); 0 is one picture over and over."""
    x = _flat(images)
    if len(x) < 2:
        return 0.0
    return float(torch.pdist(x).mean() / x.shape[1] ** 0.5)


def copying(
    images: Float[Tensor, "n *frames 3 h w"] | Sequence[Tensor], reference: Float[Tensor, "*frames 3 h w"]
) -> float:
    """Mean correlation of the pictures with a reference, pixel by pixel: near 1 they paste it instead of drawing anew."""
    x, r = _flat(images), _flat([reference])[0]
    x, r = x - x.mean(1, keepdim=True), r - r.mean()
    return float((x @ r / (x.norm(dim=1) * r.norm()).clamp(min=1e-8)).mean())


def save_picture(image: Float[Tensor, "*frames 3 h w"], path: str | Path) -> None:
    """Write a picture in [0, 1] as PNG, a clip as a strip of its frames (at most `STRIP` of them), from the first to the last."""
    import io

    import numpy as np
    from PIL import Image

    if image.ndim == 4:
        shown = torch.linspace(0, len(image) - 1, min(len(image), STRIP)).round().long()
        image = torch.cat(list(image[shown]), dim=-1)
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.numpy())).save(out, format="PNG")
    write_bytes(Path(path), out.getvalue())


def _flat(images: Float[Tensor, "n *frames 3 h w"] | Sequence[Tensor]) -> Float[Tensor, "n d"]:
    x = images if isinstance(images, Tensor) else torch.stack(list(images))
    return avg_pool2d(x.detach().float().cpu().flatten(0, -4), 2).reshape(len(x), -1)
