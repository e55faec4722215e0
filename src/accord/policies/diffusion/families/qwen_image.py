"""Qwen-Image (arXiv 2508.02324)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Latent
from accord.policies.diffusion.families.moving import Standardised
from accord.policies.diffusion.families.patches import packed, unpacked
from accord.policies.diffusion.families.shifted import Shifted


class QwenImage(Standardised, Shifted):
    """A flow over tokens of two by two latents beside the words of a vision-language model, as many as there are. Guidance
    keeps the length of what is said of each token."""

    name = "Qwen-Image"
    pipelines = frozenset({"QwenImagePipeline"})
    blank = " "

    @property
    def natural(self) -> tuple[int, ...]:
        return (self.pipeline.default_sample_size * self.scale,) * 2

    @property
    def channels(self) -> int:
        return int(self.denoiser.config.in_channels) // 4

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> Condition:
        """Alone, so that it doesn't depend on how long others are."""
        device, longest = self.pipeline.text_encoder.device, self.default("max_sequence_length")
        words, _ = self.pipeline.encode_prompt([text], device, max_sequence_length=longest)
        there = torch.ones(words.shape[:2], dtype=torch.bool, device=device)
        return Condition({"encoder_hidden_states": words, "encoder_hidden_states_mask": there})

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        shape = (1, *(s // 2 for s in x.shape[-2:]))
        return {"hidden_states": packed(x), "timestep": t / 1000, "img_shapes": [[shape]] * len(x), **condition.tensors}

    def heard(self, output: Any) -> Latent:
        return unpacked(output.float(), *self.shape[-2:])

    def guided(self, without: Latent, towards: Latent, scale: float | Tensor) -> Latent:
        led, length = packed(super().guided(without, towards, scale)), packed(towards).norm(dim=-1, keepdim=True)
        return unpacked(led * (length / led.norm(dim=-1, keepdim=True)), *self.shape[-2:])

    def scaled(self, z: Latent) -> Latent:
        return super().scaled(z)[:, :, 0]  # its autoencoder makes clips; a picture is one frame

    def unscaled(self, x: Latent) -> Latent:
        return super().unscaled(x[:, :, None])
