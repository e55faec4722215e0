"""What a policy asks of a family of pipelines; as most families answer it."""

import inspect
import logging
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from accord.errors import ConfigError
from accord.policies.diffusion.condition import Condition

log = logging.getLogger(__name__)

Size = int | Sequence[int] | None
Latent = Float[Tensor, "n c *places"]


class Family:
    """A pipeline, understood.

    Args:
        size: of its pictures in pixels, a side or (height, width); (frames, height, width) of clips. None is what the
            pipeline makes unless told otherwise.

    Attributes:
        name: what people call it. pipelines: the diffusers classes of its pipelines.
        part: the component that denoises (the first, of several that take turns).
        blank: the prompt that guidance leads away from.
        targets: the layers that a LoRA adapts.
        sides: the size of its pictures, frames first where they move.

    Raises:
        ConfigError: it can't make pictures of this size.
    """

    name: ClassVar[str]
    pipelines: ClassVar[frozenset[str]]
    part: ClassVar[str] = "transformer"
    blank: ClassVar[str] = ""
    targets: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: Any, size: Size = None) -> None:
        self.pipeline = pipeline
        self.sides = self.natural if size is None else (size, size) if isinstance(size, int) else tuple(size)
        if (
            len(self.sides) != len(self.natural)
            or any(s < 1 for s in self.sides)
            or any(s % self.multiple for s in self.sides[-2:])
        ):
            wanted = "a side, or height and width" if len(self.natural) == 2 else "frames, height and width"
            raise ConfigError(f"{self.name} wants size as {wanted}, in multiples of {self.multiple} pixels, but got {size}")  # fmt: skip

    @property
    def denoiser(self) -> Any:
        return getattr(self.pipeline, self.part)

    def assembled(self) -> Any:
        """All that denoises, as one module: the denoiser, or several that take turns (`Relay`)."""
        return self.denoiser

    # Latents and pictures

    @property
    def natural(self) -> tuple[int, ...]:
        """The size that the pipeline makes unless told otherwise."""
        return (self.denoiser.config.sample_size * self.scale,) * 2

    @property
    def scale(self) -> int:
        """Pixels along the side of a latent."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def multiple(self) -> int:
        """Sides of pictures are multiples of so many pixels."""
        return self.scale

    @property
    def channels(self) -> int:
        return int(self.denoiser.config.in_channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a picture's latents: channels, height, width."""
        return (self.channels, *(s // self.scale for s in self.sides))

    def scaled(self, z: Latent) -> Latent:
        """The denoiser's latents of the autoencoder's."""
        config = self.pipeline.vae.config
        return (z - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor

    def unscaled(self, x: Latent) -> Latent:
        """The autoencoder's latents of the denoiser's."""
        config = self.pipeline.vae.config
        return x / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)

    # Prompts

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        """What each prompt becomes, as the pipeline itself would make it."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Change the denoiser so that it computes the same for less."""

    def default(self, name: str) -> Any:
        """What the pipeline takes for an argument that it is not given."""
        found = inspect.signature(type(self.pipeline).__call__).parameters.get(name)
        return None if found is None else found.default

    def tell_what_is_cut(self, texts: Sequence[str]) -> None:
        """A line for every prompt of which no text encoder sees the end."""
        names = ("tokenizer", "tokenizer_2", "tokenizer_3")
        tokenizers = [t for n in names if (t := getattr(self.pipeline, n, None)) is not None]
        longest = self.default("max_sequence_length") or math.inf
        for text in texts:
            sizes = [(len(t(text, verbose=False).input_ids), min(t.model_max_length, longest)) for t in tokenizers]
            if all(size > limit for size, limit in sizes):
                size, limit = max(sizes, key=lambda s: s[1])
                log.warning("the text encoder reads %d tokens, but the prompt %r has %d: its end is not seen", limit, text[:40], size)  # fmt: skip

    # The denoiser

    @property
    def guidance(self) -> Literal["true", "embedded", "none"]:
        """Whether guidance leads away from what the denoiser says of the blank prompt, is an input of the denoiser, or is unknown to it."""
        return "true"

    def told(self, x: Latent, t: Float[Tensor, "n"], condition: Condition, guidance: float) -> dict[str, Any]:
        """What the denoiser is called with.

        Args:
            x: in its precision. t: the timestep of each row. guidance: for those that have it as an input.
        """
        return {"hidden_states": x, "timestep": t, **condition.tensors}

    def heard(self, output: Any) -> Latent:
        """The prediction in what it put out, in single precision."""
        return output.float()

    def guided(self, without: Latent, towards: Latent, scale: float | Tensor) -> Latent:
        """The prediction, led away from that for the blank prompt; by a number, or each row by its own."""
        return without + scale * (towards - without)

    # Levels

    def spacing(self, steps: int) -> dict[str, Any]:
        """What the scheduler's `set_timesteps` is called with."""
        return {"num_inference_steps": steps}

    @property
    def shift(self) -> float | None:
        """Of a flow's levels in training: ``sigma -> shift sigma / (1 + (shift - 1) sigma)``; None is the scheduler's own."""
        return None
