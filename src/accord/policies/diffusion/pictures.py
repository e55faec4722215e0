"""Pictures and the latents that stand for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import ModelError
from accord.policies.meter import count_call

PART = 16
"""So many pictures at a time go through the decoder, or have their activations made again."""


class Autoencoder:
    """A diffusers VAE between pictures in [0, 1] and latents at the denoiser's scale."""

    def __init__(self, vae: Any, shape: tuple[int, int, int]) -> None:
        self.vae, self.shape = vae, shape
        self.shift = getattr(vae.config, "shift_factor", None) or 0.0

    def decode(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        """Pictures in [0, 1], with gradient (clamped only in value: the gradient passes)."""
        if torch.is_grad_enabled() and latents.requires_grad:
            return self._decode(latents)
        return torch.cat([self._decode(part) for part in latents.split(PART)])

    def _decode(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        scaled = (latents / self.vae.config.scaling_factor + self.shift).to(self.vae.dtype)
        count_call(
            self.vae.decoder,
            lambda: self.vae.decode(scaled),
            len(scaled),
            tuple(scaled.shape[1:]),
            backward=scaled.requires_grad,
        )
        image = self.vae.decode(scaled).sample.float() / 2 + 0.5
        return image + (image.clamp(0, 1) - image).detach()

    def encode(self, images: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n c h w"]:
        """Latents of pictures in [0, 1] (the mean of the encoder's Gaussian)."""
        mean = self.vae.encode((images * 2 - 1).to(self.vae.device, self.vae.dtype)).latent_dist.mean.float()
        return (mean - self.shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def latents(self, completions: Sequence[Any]) -> Float[Tensor, "n c h w"]:
        """Latents of completions: pictures, paths of picture files, or latents already."""
        found = [as_picture(c) for c in completions]
        if all(f.shape == self.shape for f in found):
            return torch.stack(found).to(self.vae.device)
        return self.encode(torch.stack(found))


def as_picture(completion: Any) -> Tensor:
    """A tensor as it is, or a picture file's pixels in [0, 1].

    Raises:
        ModelError: it is neither.
    """
    if isinstance(completion, Tensor):
        return completion
    if isinstance(completion, str | Path):
        import numpy as np
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(completion) as file:
                return torch.from_numpy(np.asarray(file.convert("RGB")).copy()).permute(2, 0, 1).float() / 255
        except (OSError, UnidentifiedImageError) as error:
            why = getattr(error, "strerror", None) or "it is no picture file"
            raise ModelError(f"can't read the picture {completion}: {why}") from error
    raise ModelError(f"a completion of a diffusion policy is a picture or its file, not a {type(completion).__name__}")
