"""Pictures and the latents that stand for them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from accord.errors import ModelError
from accord.policies.diffusion.families import Family
from accord.policies.meter import count_call

Latent = Float[Tensor, "n c *places"]
Pictures = Float[Tensor, "n *frames 3 H W"]

PART = 16
"""So many pictures at a time go through the decoder, or have their activations made again; of clips one."""
ROUNDING = 1e-3
"""By so much a picture's values may leave [0, 1], as resampling and half precision make them do."""


class Autoencoder:
    """A family's VAE between pictures in [0, 1] and latents at the denoiser's scale; where a family's pictures move they are
    clips, [frames, 3, height, width]."""

    def __init__(self, family: Family) -> None:
        self.family, self.vae, self.shape = family, family.pipeline.vae, family.shape
        self.moves = len(self.shape) == 4
        self.part = 1 if self.moves else PART

    def decode(self, latents: Latent) -> Pictures:
        """Pictures in [0, 1], with gradient (clamped only in value: the gradient passes)."""
        if torch.is_grad_enabled() and latents.requires_grad:
            return self._decode(latents)
        return torch.cat([self._decode(part) for part in latents.split(self.part)])

    def _decode(self, latents: Latent) -> Pictures:
        scaled = self.family.unscaled(latents).to(self.vae.dtype)
        count_call(
            self.vae.decoder,
            lambda: self.vae.decode(scaled),
            len(scaled),
            tuple(scaled.shape[1:]),
            backward=scaled.requires_grad,
        )
        image = self.vae.decode(scaled).sample.float() / 2 + 0.5
        if image.ndim == 5:  # with an axis of time, along which a picture is one frame
            image = image.transpose(1, 2) if self.moves else image[:, :, 0]
        return image + (image.clamp(0, 1) - image).detach()

    def encode(self, images: Pictures) -> Latent:
        """Latents of pictures in [0, 1] (the mean of the encoder's Gaussian, where it has one)."""
        x = (images * 2 - 1).to(self.vae.device, self.vae.dtype)
        if "temperal_downsample" in self.vae.config:
            x = x.transpose(1, 2) if self.moves else x[:, :, None]
        found = self.vae.encode(x)
        return self.family.scaled((found.latent_dist.mean if "latent_dist" in found else found.latent).float())

    @torch.no_grad()
    def latents(self, completions: Sequence[Any]) -> Latent:
        """Latents of completions: pictures or their files (the middle, at the generator's size), or latents already."""
        there = {i: c for i, c in enumerate(completions) if isinstance(c, Tensor) and c.shape == self.shape}
        new = [i for i in range(len(completions)) if i not in there]
        device = self.vae.device  # it takes a while to say
        if new:
            read = as_clip if self.moves else as_picture
            shown = [fitted(read(completions[i]).to(device), *self.family.sides[-2:]) for i in new]
            if self.moves and any(len(clip) != self.family.sides[0] for clip in shown):
                raise ModelError(f"a clip has {self.family.sides[0]} frames here, but not all of these: give size=(frames, height, width)")  # fmt: skip
            there |= dict(zip(new, self.encode(torch.stack(shown)), strict=True))
        return torch.stack([there[i].to(device, torch.float32) for i in range(len(completions))])


def square(picture: Float[Tensor, "*n 3 h w"], side: int) -> Float[Tensor, "*n 3 s s"]:
    """The middle square at this size, antialiased; a picture of this size as it is."""
    return fitted(picture, side, side)


def fitted(picture: Float[Tensor, "*n 3 h w"], height: int, width: int) -> Float[Tensor, "*n 3 H W"]:
    """The largest middle part of this shape, at this size, antialiased; a picture of this size as it is."""
    h, w = picture.shape[-2:]
    if (h, w) == (height, width):
        return picture
    scale = min(h / height, w / width)
    high, wide = (max(1, round(scale * side)) for side in (height, width))
    top, left = (h - high) // 2, (w - wide) // 2
    cut = picture[..., top : top + high, left : left + wide].reshape(-1, 3, high, wide)
    made = interpolate(cut, (height, width), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    return made.reshape(*picture.shape[:-2], height, width)


def as_clip(frames: Any) -> Float[Tensor, "f 3 h w"]:
    """A clip of its frames: a tensor [frames, 3, height, width], or a list of what `as_picture` reads.

    Raises:
        ModelError: it is a name, or one of its frames can't be read.
    """
    if isinstance(frames, str | Path):
        raise ModelError(f"a clip is a tensor [frames, 3, height, width] or a list of its pictures, not the name {str(frames)[:60]!r}: "
                         "list the files of that folder, in their order")  # fmt: skip
    return torch.stack([as_picture(frame) for frame in frames])


def as_picture(picture: Any) -> Float[Tensor, "3 h w"]:
    """Pixels in [0, 1] of a picture: a tensor (bytes count from 0 to 255), a PIL image, or a file's path.

    Files are turned as their EXIF says; what is transparent shows white.

    Raises:
        ModelError: it is none of them, or can't be read as one picture.
    """
    if isinstance(picture, Tensor):
        return _checked(picture)
    from PIL import Image

    if isinstance(picture, Image.Image):
        return _opened(picture, "this picture")
    if not isinstance(picture, str | Path):
        raise ModelError(f"a completion of a diffusion policy is a picture or its file, not a {type(picture).__name__}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(picture)
    except Image.UnidentifiedImageError:
        raise ModelError(f"can't read the picture {picture}: it is no picture file") from None
    except Exception as error:  # decoders raise anything, among it an exception for pictures that are too large
        raise ModelError(f"can't read the picture {picture}: {_why(error)}") from error
    with file:
        return _opened(file, f"the picture {picture}")


def _checked(x: Tensor) -> Float[Tensor, "3 h w"]:
    if x.ndim != 3 or x.shape[0] != 3 or not x.numel():
        raise ModelError(f"a picture is a tensor [3, height, width], not {list(x.shape)}")
    if x.dtype == torch.uint8:
        return x.float() / 255
    if not x.is_floating_point():
        raise ModelError(f"a picture's numbers are bytes (uint8), or lie in [0, 1] as float32, but are {x.dtype}")
    low, high = (float(v) for v in x.detach().aminmax())
    if not -ROUNDING <= low <= high <= 1 + ROUNDING:  # a NaN is in no range
        mend = "(x + 1) / 2" if -1 - ROUNDING <= low < 0 and high <= 1 + ROUNDING else "x / 255"
        raise ModelError(f"a picture's values lie in [0, 1], but these between {low:g} and {high:g}: give {mend}?")
    return x.float()


def _opened(image: Any, name: str) -> Float[Tensor, "3 h w"]:
    """A PIL image's pixels."""
    from PIL import ImageOps

    try:
        # Phones put a second view into a photo (MPO); the first one is the picture.
        if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
            raise ValueError(f"it has {frames} frames: save the one that is meant as a file of its own")
        return _pixels(ImageOps.exif_transpose(image))
    except Exception as error:  # decoders raise anything on a broken file
        raise ModelError(f"can't read {name}: {_why(error)}") from error


def _pixels(image: Any) -> Float[Tensor, "3 h w"]:
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # one channel of 16 bits (some readers widen it), or of floats
        grey = torch.from_numpy(np.array(image).astype(np.float32))
        top = 1.0 if image.mode == "F" else 65535.0
        if not bool(((grey >= 0) & (grey <= top)).all()):
            raise ValueError(f"its values do not lie between 0 and {top:g}")
        return (grey / top).expand(3, -1, -1).clone()
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
