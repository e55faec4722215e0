"""PixArt-alpha and -sigma (arXiv 2310.00426, 2403.04692)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Family, Latent


class PixArt(Family):
    """A transformer with cross-attention to T5's words. Of its output the first half predicts, the second is a variance."""

    name = "PixArt"
    pipelines = frozenset({"PixArtAlphaPipeline", "PixArtSigmaPipeline"})

    @property
    def multiple(self) -> int:
        return self.scale * int(self.denoiser.config.patch_size)

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        words, there, *_ = self.pipeline.encode_prompt(
            list(texts), False, device=self.pipeline.text_encoder.device, clean_caption=self.default("clean_caption"),
            max_sequence_length=self.default("max_sequence_length"))  # fmt: skip
        return Condition({"encoder_hidden_states": words, "encoder_attention_mask": there}).rows()

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.denoiser.use_additional_conditions:
            height, width = self.sides
            added = {"resolution": torch.tensor([[height, width]], device=x.device, dtype=x.dtype).repeat(len(x), 1),
                     "aspect_ratio": torch.full((len(x), 1), height / width, device=x.device, dtype=x.dtype)}  # fmt: skip
        return {**super().told(x, t, condition, guidance), "added_cond_kwargs": added}

    def heard(self, output: Any) -> Latent:
        return output.float()[:, : self.channels]
