"""Stable Diffusion 1 and 2 (arXiv 2112.10752), and their latent consistency models (arXiv 2310.04378)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Family, Latent


class StableDiffusion(Family):
    """A U-Net that sees CLIP's words; distilled ones (LCM) are told how strong guidance is."""

    name = "Stable Diffusion 1 and 2"
    pipelines = frozenset({"StableDiffusionPipeline", "LatentConsistencyModelPipeline"})
    part = "unet"

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        embeds, _ = self.pipeline.encode_prompt(list(texts), self.pipeline.text_encoder.device, 1, False)
        return Condition({"encoder_hidden_states": embeds}).rows()

    @property
    def guidance(self) -> Literal["true", "embedded"]:
        return "embedded" if self.denoiser.config.time_cond_proj_dim else "true"

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        said: dict[str, Any] = {"sample": x, "timestep": t, **condition.tensors}
        if width := self.denoiser.config.time_cond_proj_dim:
            scale = torch.full((len(x),), guidance - 1.0)  # the pipeline embeds it on the CPU
            said["timestep_cond"] = self.pipeline.get_guidance_scale_embedding(scale, embedding_dim=width).to(x)
        return said
