"""A diffusers pipeline opened up: its parts, what it is told by prompts, what its denoiser predicts, adapters on it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.run import added_to
from accord.engine.seeds import seeded
from accord.errors import ConfigError
from accord.feedback import pictures_of, text_of
from accord.policies.adapters import Lora, lora_config
from accord.policies.base import Prompt
from accord.policies.diffusion.adapter import Encoder, ImageAdapter
from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families import Size, family_of
from accord.policies.diffusion.files import check_lora, opened, save_lora, with_lora
from accord.policies.diffusion.fused import lean
from accord.policies.diffusion.pictures import Autoencoder
from accord.policies.diffusion.relay import Guidance, Relay, strengths
from accord.policies.diffusion.schedule import Schedule
from accord.policies.meter import count_call
from accord.policies.placement import Aside, Device, Dtype, device_of, dtype_of

REMEMBERED = 1000
"""Prompts whose embeddings are kept: megabytes each in large pipelines."""


class LatentDiffusion(nn.Module):
    """The parts of a pipeline. The denoiser (U-Net or transformer, or two that take turns) trains, or adapters on it; the rest is frozen.

    Attributes:
        family: what its pipeline has in common with others, and what it has not.
        pictures: the autoencoder between pictures and latents.
        image_adapter: what makes the denoiser see a prompt's pictures, if anything.
        new_lora: whether the LoRA over the weights began here, as nothing; else the pipeline came with it.
    """

    def __init__(
        self, pipeline: Any, name: str, image_adapter: ImageAdapter | None = None, *, size: Size = None
    ) -> None:
        super().__init__()
        self.family = family_of(pipeline, size)
        self.denoiser: Any = self.family.assembled()
        self._lay_out(torch.channels_last)  # convolutions are a fifth faster in it
        for part in (self.denoiser, pipeline.vae):
            lean(part)
        self.family.prepare()
        self.image_adapter = image_adapter
        self.pictures = Autoencoder(self.family)
        frozen = [p for n, p in pipeline.components.items() if isinstance(p, nn.Module) and n not in self.denoisers]
        for part in frozen:
            part.requires_grad_(False).eval()
        self._pipeline = Aside(pipeline, *frozen)
        self.name = name
        self._conditions: dict[str, Condition] = {}
        self.new_lora = False
        if self.adapted:  # that trains, not the weights under it
            check_lora(self.denoisers)
            for weight, w in self.denoiser.named_parameters():
                w.requires_grad_("lora_" in weight)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Never: dropout would part what is trained from what is sampled."""
        return super().train(False)

    @classmethod
    def load(cls, source: Any, *, lora: Lora | None = None, device: Device = "auto", dtype: Dtype = "auto", seed: int = 0,
             gradient_checkpointing: bool = False, size: Size = None) -> Self:  # fmt: skip
        """Load a pipeline.

        Args:
            source: hub name or folder of a pipeline of one of the `families`, or of a LoRA on one (of `save`: it
                trains on); or a pipeline that is loaded already, which becomes the policy's own.
            lora: rank of new adapters on the attention layers, or a peft LoraConfig; None trains the whole denoiser (or the
                LoRA that a loaded pipeline came with).
            device: "auto" is the accelerator that there is, or the CPU.
            dtype: "auto" is bfloat16 on an accelerator, for weights that don't train, else float32.
            seed: of the adapters' first weights.
            size: of its pictures in pixels, a side or (height, width), or (frames, height, width) where they move; None is
                what the pipeline makes unless told otherwise.

        Raises:
            ModelError: there is no such pipeline, or none that can be trained.
        """
        place = device_of(device)
        kept = dtype_of(dtype, place, trains=lora is None)
        policy = cls(*opened(source, kept), size=size).to(kept)
        if lora is not None:
            policy.add_lora(lora, seed=seed)
        if gradient_checkpointing:
            for part in policy.denoisers.values():
                part.enable_gradient_checkpointing()
        return policy.to(place)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._conditions.clear()  # they lie where the text encoders lay
        wide = self._wide()

        def applied(w: Tensor) -> Tensor:
            made = fn(w)
            if id(w) not in wide or made.dtype.itemsize >= torch.float32.itemsize:
                return made
            return w.to(made.device, torch.promote_types(w.dtype, torch.float32))

        return super()._apply(applied, recurse)

    def _wide(self) -> set[int]:
        """The ids of what of the denoiser stays in single precision at least, as its class says."""
        kept = set(self.family.denoiser._keep_in_fp32_modules or ())
        every = chain(self.denoiser.named_parameters(), self.denoiser.named_buffers()) if kept else ()
        return {id(w) for name, w in every if kept & set(name.split(".")) and w.is_floating_point()}

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline, with this policy's denoiser in it."""
        return self._pipeline[0]

    @property
    def denoisers(self) -> dict[str, Any]:
        """The pipeline's parts that denoise, by name: one, or those that take turns."""
        return (
            dict(self.denoiser.named_children())
            if isinstance(self.denoiser, Relay)
            else {self.family.part: self.denoiser}
        )

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the denoiser computes in: some keep a few of their weights in single precision."""
        found = getattr(self.denoiser, "dtype", None)
        return found if isinstance(found, torch.dtype) else next(self.denoiser.parameters()).dtype

    @property
    def adapted(self) -> bool:
        """Whether LoRA adapters stand over the weights."""
        return any(getattr(part, "peft_config", None) for part in self.denoisers.values())

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.family.shape

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of its pictures in pixels."""
        height, width = self.family.sides[-2:]
        return height, width

    def _lay_out(self, order: torch.memory_format) -> None:
        """Bring the denoiser's weights into an order of memory; there is no such order for those of five dimensions."""
        if all(w.ndim < 5 for w in self.denoiser.parameters()):
            self.denoiser.to(memory_format=order)

    def add_lora(self, lora: Lora, name: str = "default", *, seed: int = 0) -> None:
        """Freeze the denoiser and put new adapters on it, in float32: small steps would be rounded away in anything narrower.

        Args:
            lora: rank, for its attention layers, or a peft LoraConfig; see `lora_config`.
            seed: of their first weights.
        """
        config = lora_config(lora, self.name, targets=list(self.family.targets), init_lora_weights="gaussian")
        if self.adapted:
            raise ConfigError("this pipeline has a LoRA already, which a new one would switch off: train that one on, or put it into "
                              "the weights first (pipe.fuse_lora() and pipe.unload_lora_weights())")  # fmt: skip
        if not hasattr(self.family.denoiser, "add_adapter"):
            raise ConfigError(
                f"diffusers knows no LoRA for a {type(self.family.denoiser).__name__}: leave lora out to train all its weights"
            )
        self.denoiser.requires_grad_(False)
        with seeded(seed, purpose=f"lora {name}"):
            for part in self.denoisers.values():
                part.add_adapter(config, name)
        for weight in self.denoiser.parameters():
            if weight.requires_grad and weight.dtype != torch.float32:
                weight.data = weight.data.float()
        lean(self.denoiser)
        self.new_lora = True
        self.eval()

    def add_image_adapter(self, encoder: Encoder, size: int, *, tokens: int = 4, weights: str | Path | None = None,
                          seed: int = 0) -> None:  # fmt: skip
        """Freeze the denoiser and let it see a prompt's pictures through a new adapter; see `ImageAdapter`.

        Args:
            weights: file of a trained adapter. seed: of a new one's first weights.
        """
        if self.image_adapter is not None:
            raise ConfigError("this policy has an image adapter already")
        self.denoiser.requires_grad_(False)
        with seeded(seed, purpose="image adapter"):
            self.image_adapter = ImageAdapter(self.denoiser, encoder, size, tokens=tokens)
        if weights is not None:
            self.image_adapter.load(weights)

    def mix(self, adapters: Mapping[str | Path, float]) -> None:
        """Put saved LoRAs over the weights, each with its share: ``W + sum_i a_i B_i A_i`` (one of them at a in [0, 1] walks
        from the base to it)."""
        if self.adapted:
            raise ConfigError("this policy has adapters already: mix into a freshly loaded one")
        names = [f"mix{i}" for i in range(len(adapters))]
        for name, folder in zip(names, adapters, strict=True):
            with_lora(self.pipeline, Path(folder), adapter_name=name)
        self.pipeline.set_adapters(names, list(adapters.values()))

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The weights under the adapters."""
        for part in self.denoisers.values():
            part.disable_adapters()
        try:
            yield
        finally:
            for part in self.denoisers.values():
                part.enable_adapters()

    def weights(self, *, adapter: bool = True) -> nn.Module:
        """The module whose weights make this policy what it is."""
        return self

    def save(self, folder: str | Path) -> None:
        """Write the LoRA as `pipe.load_lora_weights` reads it (and an image adapter as `pipe.load_ip_adapter` does), or else
        the whole pipeline.

        Raises:
            RunError: the folder can't be written.
        """
        with added_to(Path(folder)) as new:
            if self.image_adapter is not None:
                self.image_adapter.save(new / "image_adapter.safetensors")
            if self.adapted:
                save_lora(new, self.pipeline, self.family.part, self.denoisers)
            elif self.image_adapter is None:
                self._lay_out(torch.contiguous_format)  # files hold no strides
                self.pipeline.save_pretrained(new)
                self._lay_out(torch.channels_last)

    def schedule(self, steps: int | Sequence[float]) -> Schedule:
        """In so many steps, or at given timesteps."""
        spacing = self.family.spacing(steps if isinstance(steps, int) else len(steps))
        return Schedule.of(self.pipeline.scheduler, steps, self.family.shift, **spacing)

    @torch.no_grad()
    def condition(self, prompts: Sequence[Prompt]) -> Condition:
        """Embeddings of prompts, each text encoded once, and the vectors of their pictures."""
        texts = [text_of(p) for p in prompts]
        new = sorted({t for t in texts if t not in self._conditions})
        if new:
            self.family.tell_what_is_cut(new)
            self._conditions |= dict(zip(new, self.family.encode(new), strict=True))
        condition = Condition.concat([self._conditions[t] for t in texts])
        for text in list(self._conditions)[:-REMEMBERED]:
            del self._conditions[text]
        if self.image_adapter is None:
            if any(pictures_of(p) for p in prompts):
                raise ConfigError("prompts show pictures, but this policy can't see them: add_image_adapter first")
            return condition
        return replace(condition, vectors=torch.stack([self.image_adapter.vector(pictures_of(p)) for p in prompts]))

    def predict(self, x: Float[Tensor, "n c h w"], timestep: Float[Tensor, "n"] | float, condition: Condition,
                guidance: Guidance = 1.0) -> Float[Tensor, "n c h w"]:  # fmt: skip
        """The denoiser's output, guided away from the blank prompt (without pictures) where guidance is above 1, if its family does so."""
        n = len(x)
        t = torch.as_tensor(timestep, device=x.device).expand(n)
        most, scale = strengths(guidance, self.denoiser, t, x.ndim)
        twice = most > 1 and self.family.guidance == "true"
        if twice:
            empty = self.condition([self.family.blank]).select([0] * n)
            x, t, condition = torch.cat([x, x]), torch.cat([t, t]), Condition.concat([empty, condition])
        said = self.family.told(x.to(self.dtype), t, condition, most)

        def call() -> Any:
            return self.denoiser(**said, return_dict=False)

        with self._seen(condition):
            count_call(self.denoiser, call, len(x), tuple(x.shape[1:]), backward=torch.is_grad_enabled())
            found = call()
        out = self.family.heard(found[0])
        if not twice:
            return out
        without, towards = out.chunk(2)
        return self.family.guided(without, towards, scale)

    def _seen(self, condition: Condition) -> AbstractContextManager[None]:
        if self.image_adapter is None or condition.vectors is None:
            return nullcontext()
        return self.image_adapter.given(condition.vectors)
