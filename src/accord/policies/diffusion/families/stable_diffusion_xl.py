"""Stable Diffusion XL (arXiv 2307.01952), Turbo among it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Latent
from accord.policies.diffusion.families.stable_diffusion import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """Two text encoders, and a U-Net that knows how large and how whole its pictures are to be."""

    name = "Stable Diffusion XL"
    pipelines = frozenset({"StableDiffusionXLPipeline"})

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        device = self.pipeline.text_encoder.device
        embeds, _, pooled, _ = self.pipeline.encode_prompt(list(texts), device=device, do_classifier_free_guidance=False)  # fmt: skip
        ids = torch.tensor([[*self.sides, 0, 0, *self.sides]], dtype=embeds.dtype, device=device).repeat(len(texts), 1)
        if self.pipeline.config.get("force_zeros_for_empty_prompt"):
            asked = torch.tensor([bool(t) for t in texts], dtype=embeds.dtype, device=device)
            embeds, pooled = embeds * asked[:, None, None], pooled * asked[:, None]
        return Condition({"encoder_hidden_states": embeds, "text_embeds": pooled, "time_ids": ids}).rows()

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        said = super().told(x, t, condition, guidance)
        added = {name: said.pop(name) for name in ("text_embeds", "time_ids")}
        return {**said, "added_cond_kwargs": added}
