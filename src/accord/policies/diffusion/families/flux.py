"""FLUX.1 (Black Forest Labs 2024): dev, into which guidance was distilled, and schnell, which knows none."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Latent
from accord.policies.diffusion.families.patches import packed, unpacked
from accord.policies.diffusion.families.shifted import Shifted


class Flux(Shifted):
    """A flow over tokens of two by two latents, which sees T5's words beside them and CLIP's sum of them in its time embedding."""

    name = "FLUX.1"
    pipelines = frozenset({"FluxPipeline"})

    @property
    def natural(self) -> tuple[int, ...]:
        return (self.pipeline.default_sample_size * self.scale,) * 2

    @property
    def channels(self) -> int:
        return int(self.denoiser.config.in_channels) // 4

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        embeds, pooled, _ = self.pipeline.encode_prompt(list(texts), device=self.pipeline.text_encoder.device)
        return Condition({"encoder_hidden_states": embeds, "pooled_projections": pooled}).rows()

    @property
    def guidance(self) -> Literal["embedded", "none"]:
        return "embedded" if self.denoiser.config.guidance_embeds else "none"

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        sides = (1, *(s // 2 for s in x.shape[-2:]))
        places = torch.cartesian_prod(*(torch.arange(s, device=x.device).float() for s in sides))
        words = condition.tensors["encoder_hidden_states"]
        strength = torch.full((len(x),), guidance, device=x.device) if self.guidance == "embedded" else None
        return {"hidden_states": packed(x), "timestep": t / 1000, "guidance": strength, **condition.tensors,
                "img_ids": places, "txt_ids": places.new_zeros(words.shape[1], 3)}  # fmt: skip

    def heard(self, output: Any) -> Latent:
        return unpacked(output.float(), *self.shape[-2:])
