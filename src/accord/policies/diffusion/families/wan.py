"""Wan 2.1 and 2.2 (arXiv 2503.20314): text to video."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from accord.errors import ConfigError, ModelError
from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Latent, Size
from accord.policies.diffusion.families.moving import Standardised
from accord.policies.diffusion.relay import Relay


class Wan(Standardised):
    """A flow over clips: channels, moments, height, width. Its autoencoder makes one frame of the first moment, and several of
    each that follows. That of 2.2 with 14B has two transformers: one for much noise, and one for little."""

    name = "Wan"
    pipelines = frozenset({"WanPipeline"})

    def __init__(self, pipeline: Any, size: Size = None) -> None:
        self.ratio = pipeline.config.boundary_ratio
        if pipeline.transformer is None or (self.ratio is not None and pipeline.transformer_2 is None):
            raise ModelError("this Wan pipeline was loaded without one of its transformers: load it whole")
        super().__init__(pipeline, size)
        if (self.sides[0] - 1) % self.pace:
            raise ConfigError(f"Wan makes clips of 1, {1 + self.pace}, {1 + 2 * self.pace} … frames, not of {self.sides[0]}")  # fmt: skip

    def assembled(self) -> Any:
        if self.ratio is None:
            return self.denoiser
        boundary = self.ratio * self.pipeline.scheduler.config.num_train_timesteps
        return Relay(boundary, transformer=self.denoiser, transformer_2=self.pipeline.transformer_2)

    @property
    def natural(self) -> tuple[int, ...]:
        call = self.default
        return call("num_frames"), call("height"), call("width")

    @property
    def scale(self) -> int:
        return int(self.pipeline.vae_scale_factor_spatial)

    @property
    def pace(self) -> int:
        """Frames of a moment."""
        return int(self.pipeline.vae_scale_factor_temporal)

    @property
    def multiple(self) -> int:
        return self.scale * int(self.denoiser.config.patch_size[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        frames, height, width = self.sides
        return self.channels, (frames - 1) // self.pace + 1, height // self.scale, width // self.scale

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        words, _ = self.pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, device=self.pipeline.text_encoder.device,
            max_sequence_length=self.default("max_sequence_length"))  # fmt: skip
        return Condition({"encoder_hidden_states": words}).rows()

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        if self.pipeline.config.expand_timesteps:  # the 5B of 2.2 is told for each token
            t = t[:, None].expand(-1, x[0, 0].numel() // 4)
        return super().told(x, t, condition, guidance)
