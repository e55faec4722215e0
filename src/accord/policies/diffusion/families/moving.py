"""Autoencoders of clips, whose latents have a mean and a deviation for each channel."""

import torch
from torch import Tensor

from accord.policies.diffusion.families.family import Family, Latent


class Standardised(Family):
    """Latents at mean 0 and deviation 1."""

    def scaled(self, z: Latent) -> Latent:
        return (z - self._each("latents_mean", z)) / self._each("latents_std", z)

    def unscaled(self, x: Latent) -> Latent:
        return x * self._each("latents_std", x) + self._each("latents_mean", x)

    def _each(self, name: str, like: Tensor) -> Tensor:
        """A number for each channel."""
        numbers = torch.tensor(self.pipeline.vae.config[name], device=like.device, dtype=like.dtype)
        return numbers.reshape(1, -1, *[1] * (like.ndim - 2))
