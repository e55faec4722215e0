"""Stable Diffusion 3 and 3.5 (arXiv 2403.03206)."""

from collections.abc import Sequence
from typing import Any

from accord.policies.diffusion.attention import Repeated, hook
from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.shifted import Shifted


class StableDiffusion3(Shifted):
    """A flow whose transformer sees the words of three text encoders beside the pixels."""

    name = "Stable Diffusion 3"
    pipelines = frozenset({"StableDiffusion3Pipeline"})

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        device = self.pipeline.text_encoder.device
        embeds, _, pooled, _ = self.pipeline.encode_prompt(list(texts), None, None, device=device, do_classifier_free_guidance=False)  # fmt: skip
        if (blank := self.blanks) is not None:
            embeds = embeds[:, : blank.length]
        return Condition({"encoder_hidden_states": embeds, "pooled_projections": pooled}).rows()

    @property
    def blanks(self) -> Repeated | None:
        """Without its largest text encoder it sees zeros in that one's place. They stay equal to each other in every
        layer (words have no positions there), so one of them is enough."""
        if self.pipeline.text_encoder_3 is not None:
            return None
        times = self.default("max_sequence_length")
        return Repeated(self.pipeline.tokenizer_max_length + 1, times - 1)

    @property
    def patch(self) -> int:
        return int(self.denoiser.config.patch_size)

    def spacing(self, steps: int) -> dict[str, Any]:
        return {"num_inference_steps": steps, **({"mu": self.mu(steps)} if self.dynamic else {})}

    def prepare(self) -> None:
        if (blank := self.blanks) is not None:
            hook(self.denoiser, blank)
