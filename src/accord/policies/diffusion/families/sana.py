"""SANA (arXiv 2410.10629)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Family, Latent


class Sana(Family):
    """A flow with linear attention over latents of 32 by 32 pixels. A prompt is read after an instruction to make more of it,
    the blank one without."""

    name = "SANA"
    pipelines = frozenset({"SanaPipeline"})

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> Condition:
        words, there, *_ = self.pipeline.encode_prompt(
            [text], False, device=self.pipeline.text_encoder.device,
            complex_human_instruction=self.default("complex_human_instruction") if text != self.blank else None)  # fmt: skip
        return Condition({"encoder_hidden_states": words, "encoder_attention_mask": there})

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        return super().told(x, t * self.denoiser.config.timestep_scale, condition, guidance)
