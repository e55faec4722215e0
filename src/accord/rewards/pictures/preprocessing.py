"""How a network is shown pictures: resized, cut and normalised in torch, so that its score has a gradient in their pixels."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad
from transformers.image_processing_base import ImageProcessingMixin

from accord.errors import ModelError
from accord.rewards.pictures.files import opened

Colour = tuple[float, float, float]
MEAN: Colour = (0.48145466, 0.4578275, 0.40821073)
STD: Colour = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, by channel."""

MODES = {2: "bilinear", 3: "bicubic"}
"""Of interpolation, by PIL's numbers."""


@dataclass(frozen=True)
class Preprocessing:
    """Pictures in [0, 1] to what a network reads. Resizing is antialiased, as PIL's is.

    Args:
        size: height and width that the network reads.
        fit: "crop" brings the shorter side to that size and keeps the middle, "stretch" both sides, "pad" the longer one and lays
            black around.
        mode: of interpolation. mean, std: of each channel.
    """

    size: tuple[int, int]
    fit: Literal["crop", "stretch", "pad"] = "crop"
    mode: str = "bicubic"
    mean: Colour = MEAN
    std: Colour = STD

    @classmethod
    def load(cls, source: str) -> "Preprocessing":
        """What a folder or repository says of its own (preprocessor_config.json).

        Raises:
            ModelError: it says nothing, or means something else than a resized picture.
        """
        said = opened(
            "how pictures are prepared", source, lambda: ImageProcessingMixin.get_image_processor_dict(source)[0]
        )
        size, crops = said.get("size", 224), bool(said.get("do_center_crop"))
        cut = _sides(said.get("crop_size", size) if crops else size)
        edge = _sides(size)
        if cut is None or (crops and edge not in (cut, cut[:1] * 2)) or said.get("resample", 3) not in MODES:
            raise ModelError(
                f"{source} prepares its pictures in a way that isn't known here (size {size}, crop_size {said.get('crop_size')})"
            )
        colours = (
            tuple(float(c) for c in said.get(name, default))
            for name, default in (("image_mean", MEAN), ("image_std", STD))
        )
        return cls(cut, "crop" if crops else "stretch", MODES[said.get("resample", 3)], *colours)  # type: ignore[arg-type]

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 H W"]:
        x = getattr(self, f"_{self.fit}")(images.float())
        mean, std = (torch.tensor(c, device=x.device)[:, None, None] for c in (self.mean, self.std))
        return (x - mean) / std

    def _crop(self, x: Tensor) -> Tensor:
        (h, w), (high, wide) = x.shape[-2:], self.size
        edge, short = max(self.size), min(h, w)
        x = self._as_pil(x, (int(edge * h / short), int(edge * w / short)))
        top, left = (x.shape[-2] - high) // 2, (x.shape[-1] - wide) // 2
        return x[..., top : top + high, left : left + wide]

    def _stretch(self, x: Tensor) -> Tensor:
        return self._as_pil(x, self.size)

    def _pad(self, x: Tensor) -> Tensor:
        """HPS v2 resizes tensors, and leaves what that puts beyond [0, 1]."""
        high, wide = self.size
        scale = max(self.size) / max(x.shape[-2:])
        h, w = round(x.shape[-2] * scale), round(x.shape[-1] * scale)
        above, before = (high - h) // 2, (wide - w) // 2
        return pad(self._resized(x, h, w), (before, wide - w - before, above, high - h - above))

    def _as_pil(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Rows first, then columns; after each the colours are brought back into their range."""
        x = self._resized(x, x.shape[-2], size[1]).clamp(0, 1)
        return self._resized(x, *size).clamp(0, 1)

    def _resized(self, x: Tensor, h: int, w: int) -> Tensor:
        if tuple(x.shape[-2:]) == (h, w):
            return x
        return interpolate(x, (h, w), mode=self.mode, antialias=True, align_corners=False)


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width, of the shapes in which processors write them."""
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size and len(size) == 1:
        return size["shortest_edge"], size["shortest_edge"]
    return (size["height"], size["width"]) if {"height", "width"} <= size.keys() else None
