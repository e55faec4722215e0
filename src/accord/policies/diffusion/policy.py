"""Latent diffusion behind the face of a policy: a sample is an episode of Gaussian denoising steps."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.engine.seeds import generator
from accord.errors import ConfigError, ModelError
from accord.feedback import pictures_of, text_of
from accord.losses import LogProbs
from accord.policies.base import Group, Prompt, Rollouts
from accord.policies.diffusion.actions import FLOOR, Denoising, Draw, LatentActions, gaussian_logprob
from accord.policies.diffusion.adapter import Encoder, ImageAdapter
from accord.policies.diffusion.condition import Condition, encode
from accord.policies.diffusion.pictures import Autoencoder
from accord.policies.diffusion.schedule import Schedule, training_levels
from accord.policies.frozen import FrozenPolicy
from accord.policies.meter import count_call

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


class DiffusionPolicy(nn.Module):
    """A diffusers pipeline as a policy. The denoiser (U-Net or transformer) trains, or adapters on it; the rest is frozen.

    Completions are pictures, `[3, H, W]` in [0, 1]; prompts are texts, with pictures where an image adapter reads them.

    Attributes:
        pictures: the autoencoder between pictures and latents.
        image_adapter: what makes the denoiser see a prompt's pictures, if anything.
        at_once: of more than so many (picture, step) pairs in `logprobs` with gradient, activations are not kept but
            computed again; None keeps all.
    """

    def __init__(self, pipeline: Any, name: str, image_adapter: ImageAdapter | None = None) -> None:
        super().__init__()
        self.denoiser: nn.Module = getattr(pipeline, "unet", None) or pipeline.transformer
        self.image_adapter = image_adapter
        self.at_once: int | None = None
        # In a list, lest the frozen parts count as parts of this module.
        self._pipeline = [pipeline]
        self.pictures = Autoencoder(pipeline.vae, self.latent_shape)
        for part in (pipeline.vae, *(getattr(pipeline, f"text_encoder{i}", None) for i in ("", "_2", "_3"))):
            if part is not None:
                part.requires_grad_(False).eval()
        self.name = name
        self._conditions: dict[str, Condition] = {}

    sampling_kind = Denoising

    @classmethod
    def load(cls, source: str | Path, *, lora: int | None = None, dtype: torch.dtype = torch.float32,
             device: str | torch.device = "cpu", gradient_checkpointing: bool = False) -> "DiffusionPolicy":  # fmt: skip
        """Load a pipeline.

        Args:
            source: hub name or folder of a Stable Diffusion 1, 2, XL or 3 pipeline.
            lora: rank of new adapters on the attention layers; None trains the whole denoiser.

        Raises:
            ModelError: there is no such pipeline.
        """
        try:
            from diffusers import DiffusionPipeline
        except ImportError as error:
            raise ModelError('pictures need diffusers: pip install "accord[image]"') from error
        try:
            kind = DiffusionPipeline.load_config(source)
            # Stable Diffusion 3 saved without its largest text encoder opens only if told that there is none.
            without = {n: None for n in ("text_encoder_3", "tokenizer_3") if not (kind.get(n) or [None])[0]}
            more = without if str(kind.get("_class_name", "")).startswith("StableDiffusion3") else {}
            pipeline = DiffusionPipeline.from_pretrained(source, dtype=dtype, **more).to(device)
        except (OSError, ValueError) as error:
            why = "there is no model_index.json" if "model_index" in str(error) else str(error).splitlines()[0]
            raise ModelError(f"can't load a diffusers pipeline from {source}: {why}") from error
        policy = cls(pipeline, str(source))
        if lora is not None:
            policy.add_lora(lora)
        if gradient_checkpointing:
            policy.denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
        return policy

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline, with this policy's denoiser in it."""
        return self._pipeline[0]

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.denoiser.parameters()).dtype

    @property
    def adapted(self) -> bool:
        """Whether LoRA adapters stand over the weights."""
        return bool(getattr(self.denoiser, "peft_config", None))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config: Any = self.denoiser.config
        return (config.in_channels, config.sample_size, config.sample_size)

    @property
    def picture_size(self) -> int:
        """Side of its pictures in pixels."""
        return self.latent_shape[-1] * int(self.pipeline.vae_scale_factor)

    def add_lora(self, rank: int, name: str = "default") -> None:
        """Freeze the denoiser and put new adapters on its attention layers."""
        from peft import LoraConfig

        if rank < 1:
            raise ConfigError(f"lora is a rank, at least 1, but got {rank} (leave it out to train every weight)")
        self.denoiser.requires_grad_(False)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS), init_lora_weights="gaussian")
        self.denoiser.add_adapter(config, name)  # type: ignore[operator]

    def add_image_adapter(
        self, encoder: Encoder, size: int, *, tokens: int = 4, weights: str | Path | None = None
    ) -> None:
        """Freeze the denoiser and let it see a prompt's pictures through a new adapter; see `ImageAdapter`.

        Args:
            weights: file of a trained adapter.
        """
        if self.image_adapter is not None:
            raise ConfigError("this policy has an image adapter already")
        self.denoiser.requires_grad_(False)
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
            self.pipeline.load_lora_weights(str(folder), adapter_name=name)
        self.pipeline.set_adapters(names, list(adapters.values()))

    def schedule(self, steps: int) -> Schedule:
        return Schedule.of(self.pipeline.scheduler, steps)

    @torch.no_grad()
    def condition(self, prompts: Sequence[Prompt]) -> Condition:
        """Embeddings of prompts, each text encoded once, and the vectors of their pictures."""
        texts = [text_of(p) for p in prompts]
        new = sorted({t for t in texts if t not in self._conditions})
        if new:
            found = encode(self.pipeline, new)
            self._conditions |= {t: found.select([i]) for i, t in enumerate(new)}
        condition = Condition.concat([self._conditions[t] for t in texts])
        if self.image_adapter is None:
            if any(pictures_of(p) for p in prompts):
                raise ConfigError("prompts show pictures, but this policy can't see them: add_image_adapter first")
            return condition
        return replace(condition, vectors=torch.stack([self.image_adapter.vector(pictures_of(p)) for p in prompts]))

    def predict(self, x: Float[Tensor, "n c h w"], timestep: Float[Tensor, "n"] | float, condition: Condition,
                guidance: float = 1.0) -> Float[Tensor, "n c h w"]:  # fmt: skip
        """The denoiser's output, guided away from the empty prompt (without pictures) where guidance is above 1."""
        n = len(x)
        t = torch.as_tensor(timestep, device=x.device).expand(n)
        embedded = getattr(self.denoiser.config, "time_cond_proj_dim", None)
        more = {}
        if embedded:  # guidance is an input of this denoiser (LCM), not a second branch
            scale = torch.full((n,), guidance - 1.0, device=x.device)
            more["timestep_cond"] = self.pipeline.get_guidance_scale_embedding(scale, embedding_dim=embedded).to(
                self.dtype
            )
        elif guidance > 1:
            empty = self.condition([""]).select([0] * n)
            x, t, condition = torch.cat([x, x]), torch.cat([t, t]), Condition.concat([empty, condition])

        def call() -> Any:
            return self.denoiser(x.to(self.dtype), timestep=t, return_dict=False, **condition.arguments(), **more)

        with self._seen(condition):
            count_call(self.denoiser, call, len(x), tuple(x.shape[1:]), backward=torch.is_grad_enabled())
            found = call()
        out = found[0].float()
        if guidance > 1 and not embedded:
            without, towards = out.chunk(2)
            return without + guidance * (towards - without)
        return out

    def _seen(self, condition: Condition) -> AbstractContextManager[None]:
        if self.image_adapter is None or condition.vectors is None:
            return nullcontext()
        return self.image_adapter.given(condition.vectors)

    def noise(
        self, rows: int, seed: int | Sequence[int], *where: int, purpose: str = "noise"
    ) -> Float[Tensor, "n c h w"]:
        """Standard Gaussian latents, each row from its own seed (given one for each, or derived from one for all)."""
        places = [(seed, *where, row) for row in range(rows)] if isinstance(seed, int) else [(s, *where) for s in seed]
        drawn = [torch.randn(self.latent_shape, generator=generator(*place, purpose=purpose)) for place in places]
        return torch.stack(drawn).to(self.device)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Denoising = Denoising(), *, seed: int = 0,
               context: dict[str, list[Any]] | None = None, start: Float[Tensor, "n c h w"] | None = None) -> Rollouts:  # fmt: skip
        """Draw n pictures of each prompt; a row's draws depend on (seed, row, step) alone.

        Args:
            start: noise to start from, one for each picture; None draws it.
        """
        if not prompts:
            raise ConfigError("sample() wants at least one prompt")
        was_training = self.training
        self.eval()
        group = torch.arange(len(prompts)).repeat_interleave(n)
        condition = self.condition([prompts[g] for g in group.tolist()])
        schedule = self.schedule(sampling.steps)
        x = self._start(len(prompts), n, sampling, seed) if start is None else start.to(self.device)
        path, logprobs, counted = [x], [], []
        for i in range(len(schedule)):
            mean, std = self._step(schedule, x, i, condition, sampling)
            z = self.noise(len(x), seed, i, purpose="step") if std else torch.zeros_like(mean)
            x = mean + std * z
            path.append(x)
            logprobs.append(
                gaussian_logprob(x, mean, std, average=sampling.average) if std > FLOOR else x.new_zeros(len(x))
            )
            counted.append(std > FLOOR)
        self.train(was_training)
        images = self.pictures.decode(x).cpu()
        steps = torch.tensor(counted)
        return Rollouts(
            prompts=list(prompts), group=group, completions=list(images), mask=steps.expand(len(x), -1),
            logprobs=torch.stack(logprobs, 1).cpu(), finished=torch.ones(len(x), dtype=torch.bool),
            actions=LatentActions(torch.stack(path, 1).cpu()), sampling=sampling,
            context={k: [v[g] for g in group.tolist()] for k, v in (context or {}).items()},
        )  # fmt: skip

    def _start(self, prompts: int, n: int, sampling: Denoising, seed: int) -> Float[Tensor, "n c h w"]:
        if sampling.common_start:
            return self.noise(prompts, seed).repeat_interleave(n, 0)
        return self.noise(prompts * n, seed)

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``log N(x_{t+1}; mean_theta(x_t), std^2)`` of every counted step, summed over the latent, with grad."""
        sampling, latents = rollouts.sampling, rollouts.actions.latents.to(self.device)
        schedule, condition = self.schedule(sampling.steps), self.condition(rollouts.prompt_of_each())
        rows, steps = rollouts.mask.to(self.device).nonzero(as_tuple=True)
        size = self.at_once or max(1, len(rows))

        def density(part: Tensor) -> Tensor:
            row, i = rows[part], steps[part]
            output = self.predict(
                latents[row, i], schedule.timesteps.to(i.device)[i], condition.select(row), sampling.guidance
            )
            mean, std = schedule.step(latents[row, i], output, i, sampling.eta)
            return gaussian_logprob(latents[row, i + 1], mean, std, average=sampling.average)

        parts = torch.arange(len(rows), device=self.device).split(size)
        again = torch.is_grad_enabled() and len(parts) > 1
        found = [checkpoint(density, p, use_reentrant=False) if again else density(p) for p in parts]
        out = latents.new_zeros(rollouts.mask.shape)
        return out.index_put((rows, steps), torch.cat(found)) if found else out

    def _step(
        self, schedule: Schedule, x: Tensor, i: int, condition: Condition, sampling: Denoising
    ) -> tuple[Tensor, float]:
        output = self.predict(x, float(schedule.timesteps[i]), condition, sampling.guidance)
        mean, std = schedule.step(x, output, i, sampling.eta)
        return mean, float(std)

    def draw(self, groups: Sequence[Group], seed: int) -> Draw:
        """A random level and noise for each group: those of Diffusion-DPO."""
        level = torch.rand(len(groups), generator=generator(seed, purpose="level"))
        return Draw(level, self.noise(len(groups), seed, purpose="draw").cpu()[:, None])

    def likelihood(self, groups: Sequence[Group], draw: Draw | None = None) -> LogProbs:
        """``-1/2 mean (target - output)^2`` at the draw: a bound on the log-likelihood up to level weights and constants.

        Args:
            draw: from `draw`; None derives one from the groups' places.
        """
        draw = draw or self.draw(groups, 0)
        level, noise = draw.of_each([len(g.completions) for g in groups])
        clean, noise = self.pictures.latents([c for g in groups for c in g.completions]), noise.to(self.device)
        timestep, alpha, sigma = (v.to(self.device) for v in training_levels(self.pipeline.scheduler, level))
        a, s = alpha[:, None, None, None], sigma[:, None, None, None]
        condition = self.condition([g.prompt for g in groups for _ in g.completions])
        output = self.predict(a * clean + s * noise, timestep, condition)
        error = (self.schedule(1).target(clean, noise, a, s) - output).square().mean((1, 2, 3))
        return LogProbs(policy=-0.5 * error, length=torch.ones_like(error))

    def denoise_with_grad(self, prompts: Sequence[Prompt], sampling: Denoising = Denoising(), *, grad: int | Sequence[int] = 1, cut: bool = True,
                          stop: int | None = None, seed: int | Sequence[int] = 0, start: Tensor | None = None, recompute: bool = True) -> Float[Tensor, "n 3 H W"]:  # fmt: skip
        """Pictures with gradient through some of the denoising steps.

        Args:
            grad: the last so many steps that run, or the steps by number, that carry gradient; the others run without.
            cut: at a step without, no gradient passes to those before it; else only its prediction is a constant, and
                the latent's own path stays (AlignProp's released code).
            stop: number of the last step; its predicted clean latent is decoded (ReFL). None runs to the end.
            start: noise to start from (may require grad); None draws it.
            recompute: keep one latent a step instead of the denoiser's activations.
        """
        schedule, condition = self.schedule(sampling.steps), self.condition(prompts)
        last = len(schedule) - 1 if stop is None else stop
        if not 0 <= last < len(schedule):
            raise ConfigError(f"stop={stop} is not one of the {len(schedule)} steps")
        counted = set(range(last + 1 - grad, last + 1)) if isinstance(grad, int) else set(grad)
        if not counted or not counted <= set(range(last + 1)):
            raise ConfigError(f"grad={grad} names no steps within 0 to {last}")
        x = self.noise(len(prompts), seed) if start is None else start.to(self.device)

        def predict(x: Tensor, t: float) -> Tensor:
            return self.predict(x, t, condition, sampling.guidance)

        for i in range(last + 1):
            t = float(schedule.timesteps[i])
            keep = i in counted
            with torch.set_grad_enabled(keep or (not cut and x.requires_grad)):
                with torch.set_grad_enabled(keep):
                    output = checkpoint(predict, x, t, use_reentrant=False) if recompute and keep else predict(x, t)
                if i == last:
                    x = (
                        schedule.picture(x, output, i)
                        if stop is not None or schedule.consistency
                        else schedule.step(x, output, i, sampling.eta)[0]
                    )
                    break
                mean, std = schedule.step(x, output, i, sampling.eta)
                x = mean + std * self.noise(len(x), seed, i, purpose="step") if std else mean
        return self.pictures.decode(x)

    def freeze(self, which: str = "base") -> FrozenPolicy:
        """A frozen twin: "base" (adapters off where there are any, else a copy as it is), "now" (a copy), or a folder."""
        if which == "base" and self.adapted:
            return FrozenPolicy(self, adapter_off=True)
        if which in ("base", "now"):
            return FrozenPolicy(self._twin())
        return FrozenPolicy(DiffusionPolicy.load(which, device=self.device))

    def _twin(self) -> "DiffusionPolicy":
        """A copy of the denoiser over the same frozen parts."""
        twin = copy.copy(self.pipeline)
        # Together, so that the copy's attention sees the copied adapter.
        denoiser, adapter = copy.deepcopy((self.denoiser, self.image_adapter))
        denoiser.requires_grad_(False).eval()
        if adapter is not None:
            adapter.requires_grad_(False).eval()
        setattr(twin, "unet" if hasattr(twin, "unet") else "transformer", denoiser)
        return DiffusionPolicy(twin, self.name, adapter)

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The weights under the adapters."""
        denoiser: Any = self.denoiser
        denoiser.disable_adapters()
        try:
            yield
        finally:
            denoiser.enable_adapters()

    def weights(self, *, adapter: bool = True) -> nn.Module:
        """The module whose weights make this policy what it is."""
        return self

    def save(self, folder: str | Path) -> None:
        """Write the LoRA as `pipe.load_lora_weights` reads it (and an image adapter as `pipe.load_ip_adapter` does), or else
        the whole pipeline."""
        if self.image_adapter is not None:
            self.image_adapter.save(Path(folder) / "image_adapter.safetensors")
            if not self.adapted:
                return
        if not self.adapted:
            self.pipeline.save_pretrained(folder)
            return
        from peft import get_peft_model_state_dict

        layers = get_peft_model_state_dict(self.denoiser)
        part = "unet" if hasattr(self.pipeline, "unet") else "transformer"
        self.pipeline.save_lora_weights(str(folder), **{f"{part}_lora_layers": layers})
