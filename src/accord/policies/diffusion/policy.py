"""Latent diffusion behind the face of a policy: a sample is an episode of Gaussian denoising steps."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.engine.seeds import generator
from accord.errors import ConfigError, ModelError
from accord.losses import LogProbs
from accord.policies.base import Group, Prompt, Rollouts
from accord.policies.diffusion.condition import Condition, encode
from accord.policies.diffusion.schedule import Schedule, training_levels
from accord.policies.frozen import FrozenPolicy
from accord.policies.meter import count

FLOOR = 1e-4
"""Steps with less spread than this have no usable density; they are played, but not counted as actions."""
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Denoising:
    """How pictures are drawn.

    Attributes:
        steps: denoising steps (>= 1).
        guidance: classifier-free guidance scale; 1 switches it off.
        eta: spread of each step between 0 (DDIM, or the flow's ODE) and 1 (DDPM, or its SDE); > 0 for training rollouts.
    """

    steps: int = 20
    guidance: float = 5.0
    eta: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.guidance < 1 or not 0 <= self.eta <= 1:
            raise ConfigError(f"denoising wants steps >= 1, guidance >= 1 and eta in [0, 1], but got {self}")

    def check_trainable(self) -> None:
        """Raise ConfigError for settings under which steps have no density."""
        if self.eta == 0:
            raise ConfigError("steps without noise have no log-probs: set eta > 0 for training rollouts")


@dataclass(frozen=True)
class LatentActions:
    """The path of each episode: latents of all levels, from noise to picture."""

    latents: Float[Tensor, "n t1 c h w"]

    def select(self, rows: Sequence[int]) -> "LatentActions":
        return LatentActions(self.latents[torch.as_tensor(rows, dtype=torch.long)])

    def extend(self, other: "LatentActions") -> "LatentActions":
        return LatentActions(torch.cat([self.latents, other.latents]))


@dataclass(frozen=True)
class Draw:
    """Where the likelihood surrogate looks: one level and one noise for all completions of a group."""

    level: Float[Tensor, "g"]
    noise: Float[Tensor, "g c h w"]

    def select(self, rows: Sequence[int]) -> "Draw":
        index = torch.as_tensor(rows, dtype=torch.long)
        return Draw(self.level[index], self.noise[index])


class DiffusionPolicy(nn.Module):
    """A diffusers pipeline as a policy. Only the denoiser (U-Net or transformer) trains; the rest is frozen.

    Completions are pictures, `[3, H, W]` in [0, 1].
    """

    def __init__(self, pipeline: Any, name: str) -> None:
        super().__init__()
        self.denoiser: nn.Module = getattr(pipeline, "unet", None) or pipeline.transformer
        # In a list, lest the frozen parts count as parts of this module.
        self._pipeline = [pipeline]
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
            pipeline = DiffusionPipeline.from_pretrained(source, dtype=dtype).to(device)
        except (OSError, ValueError) as error:
            raise ModelError(f"can't load a diffusers pipeline from {source}: {str(error).splitlines()[0]}") from error
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

    def add_lora(self, rank: int, name: str = "default") -> None:
        """Freeze the denoiser and put new adapters on its attention layers."""
        from peft import LoraConfig

        if rank < 1:
            raise ConfigError(f"lora is a rank, at least 1, but got {rank} (leave it out to train every weight)")
        self.denoiser.requires_grad_(False)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS), init_lora_weights="gaussian")
        self.denoiser.add_adapter(config, name)  # type: ignore[operator]

    def schedule(self, steps: int) -> Schedule:
        return Schedule.of(self.pipeline.scheduler, steps)

    @torch.no_grad()
    def condition(self, prompts: Sequence[Prompt]) -> Condition:
        """Embeddings of prompts, each text encoded once."""
        texts = [_text(p) for p in prompts]
        new = sorted({t for t in texts if t not in self._conditions})
        if new:
            found = encode(self.pipeline, new)
            self._conditions |= {t: found.select([i]) for i, t in enumerate(new)}
        return Condition.concat([self._conditions[t] for t in texts])

    def predict(self, x: Float[Tensor, "n c h w"], timestep: Float[Tensor, "n"] | float, condition: Condition,
                guidance: float = 1.0) -> Float[Tensor, "n c h w"]:  # fmt: skip
        """The denoiser's output, guided away from the empty prompt where guidance is above 1."""
        n = len(x)
        t = torch.as_tensor(timestep, device=x.device).expand(n)
        if guidance > 1:
            empty = self.condition([""]).select([0] * n)
            x, t, condition = torch.cat([x, x]), torch.cat([t, t]), Condition.concat([empty, condition])
        count(self.denoiser, len(x) * x.shape[-1] * x.shape[-2], backward=torch.is_grad_enabled())
        found = self.denoiser(x.to(self.dtype), timestep=t, return_dict=False, **condition.arguments())
        out = found[0].float()
        if guidance > 1:
            without, towards = out.chunk(2)
            return without + guidance * (towards - without)
        return out

    def decode(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        """Pictures in [0, 1], with gradient (clamped only in value: the gradient passes)."""
        vae = self.pipeline.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        image = vae.decode((latents / vae.config.scaling_factor + shift).to(vae.dtype)).sample.float() / 2 + 0.5
        return image + (image.clamp(0, 1) - image).detach()

    def encode(self, images: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n c h w"]:
        """Latents of pictures in [0, 1] (the mean of the encoder's Gaussian)."""
        vae = self.pipeline.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        mean = vae.encode((images * 2 - 1).to(self.device, vae.dtype)).latent_dist.mean.float()
        return (mean - shift) * vae.config.scaling_factor

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
        x = self.noise(len(group), seed) if start is None else start.to(self.device)
        path, logprobs, counted = [x], [], []
        for i in range(len(schedule)):
            mean, std = self._step(schedule, x, i, condition, sampling)
            z = self.noise(len(x), seed, i, purpose="step") if std else torch.zeros_like(mean)
            x = mean + std * z
            path.append(x)
            logprobs.append(gaussian_logprob(x, mean, std) if std > FLOOR else x.new_zeros(len(x)))
            counted.append(std > FLOOR)
        self.train(was_training)
        images = self.decode(x).cpu()
        steps = torch.tensor(counted)
        return Rollouts(
            prompts=list(prompts), group=group, completions=list(images), mask=steps.expand(len(x), -1),
            logprobs=torch.stack(logprobs, 1).cpu(), finished=torch.ones(len(x), dtype=torch.bool),
            actions=LatentActions(torch.stack(path, 1).cpu()), sampling=sampling,
            context={k: [v[g] for g in group.tolist()] for k, v in (context or {}).items()},
        )  # fmt: skip

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``log N(x_{t+1}; mean_theta(x_t), std^2)`` of every counted step, summed over the latent, with grad."""
        sampling, latents = rollouts.sampling, rollouts.actions.latents.to(self.device)
        schedule, condition = self.schedule(sampling.steps), self.condition(rollouts.prompt_of_each())
        out = []
        for i in range(len(schedule)):
            if not bool(rollouts.mask[:, i].any()):
                out.append(latents.new_zeros(len(latents)))
                continue
            mean, std = self._step(schedule, latents[:, i], i, condition, sampling)
            out.append(gaussian_logprob(latents[:, i + 1], mean, std))
        return torch.stack(out, 1).masked_fill(~rollouts.mask.to(self.device), 0.0)

    def _step(
        self, schedule: Schedule, x: Tensor, i: int, condition: Condition, sampling: Denoising
    ) -> tuple[Tensor, float]:
        output = self.predict(x, float(schedule.timesteps[i]), condition, sampling.guidance)
        return schedule.step(x, output, i, sampling.eta)

    def draw(self, groups: Sequence[Group], seed: int) -> Draw:
        """A random level and noise for each group: those of Diffusion-DPO."""
        level = torch.rand(len(groups), generator=generator(seed, purpose="level"))
        return Draw(level, self.noise(len(groups), seed, purpose="draw").cpu())

    def likelihood(self, groups: Sequence[Group], draw: Draw | None = None) -> LogProbs:
        """``-1/2 mean (target - output)^2`` at the draw: a bound on the log-likelihood up to level weights and constants.

        Args:
            draw: from `draw`; None derives one from the groups' places.
        """
        draw = draw or self.draw(groups, 0)
        sizes = torch.tensor([len(g.completions) for g in groups])
        clean = self.latents([c for g in groups for c in g.completions])
        timestep, alpha, sigma = training_levels(self.pipeline.scheduler, draw.level)
        timestep, alpha, sigma, noise = (
            v.repeat_interleave(sizes, 0).to(self.device) for v in (timestep, alpha, sigma, draw.noise)
        )
        a, s = alpha[:, None, None, None], sigma[:, None, None, None]
        condition = self.condition([g.prompt for g in groups for _ in g.completions])
        output = self.predict(a * clean + s * noise, timestep, condition)
        error = (self.schedule(1).target(clean, noise, a, s) - output).square().mean((1, 2, 3))
        return LogProbs(policy=-0.5 * error, length=torch.ones_like(error))

    @torch.no_grad()
    def latents(self, completions: Sequence[Any]) -> Float[Tensor, "n c h w"]:
        """Latents of completions: pictures, paths of picture files, or latents already."""
        found = [as_picture(c) for c in completions]
        if all(f.shape == self.latent_shape for f in found):
            return torch.stack(found).to(self.device)
        return self.encode(torch.stack(found))

    def denoise_with_grad(self, prompts: Sequence[Prompt], sampling: Denoising = Denoising(), *, grad: int | Sequence[int] = 1,
                          stop: int | None = None, seed: int | Sequence[int] = 0, start: Tensor | None = None, recompute: bool = True) -> Float[Tensor, "n 3 H W"]:  # fmt: skip
        """Pictures with gradient through some of the denoising steps.

        Args:
            grad: the last so many steps that run, or the steps by number, that carry gradient; the others run without.
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
            with torch.set_grad_enabled(i in counted):
                output = checkpoint(predict, x, t, use_reentrant=False) if recompute and i in counted else predict(x, t)
                if i == last:
                    x = (
                        schedule.picture(x, output, i)
                        if stop is not None or schedule.consistency
                        else schedule.step(x, output, i, sampling.eta)[0]
                    )
                    break
                mean, std = schedule.step(x, output, i, sampling.eta)
                x = mean + std * self.noise(len(x), seed, i, purpose="step") if std else mean
        return self.decode(x)

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
        denoiser = copy.deepcopy(self.denoiser).requires_grad_(False).eval()
        setattr(twin, "unet" if hasattr(twin, "unet") else "transformer", denoiser)
        return DiffusionPolicy(twin, self.name)

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
        return self.denoiser

    def save(self, folder: str | Path) -> None:
        """Write the LoRA as `pipe.load_lora_weights` reads it, or else the whole pipeline."""
        if not self.adapted:
            self.pipeline.save_pretrained(folder)
            return
        from peft import get_peft_model_state_dict

        layers = get_peft_model_state_dict(self.denoiser)
        part = "unet" if hasattr(self.pipeline, "unet") else "transformer"
        self.pipeline.save_lora_weights(str(folder), **{f"{part}_lora_layers": layers})


def gaussian_logprob(x: Tensor, mean: Tensor, std: float) -> Float[Tensor, "n"]:
    """``sum log N(x; mean, std^2)`` over everything but the first dimension, in float32."""
    each = torch.distributions.Normal(mean.float(), std, validate_args=False).log_prob(x.float())
    return each.flatten(1).sum(-1)


def as_picture(completion: Any) -> Tensor:
    """A tensor as it is, or a picture file's pixels in [0, 1].

    Raises:
        ModelError: it is neither.
    """
    if isinstance(completion, Tensor):
        return completion
    if isinstance(completion, str | Path):
        import numpy as np
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(completion) as file:
                return torch.from_numpy(np.asarray(file.convert("RGB")).copy()).permute(2, 0, 1).float() / 255
        except (OSError, UnidentifiedImageError) as error:
            raise ModelError(f"can't read the picture {completion}: {error}") from error
    raise ModelError(f"a completion of a diffusion policy is a picture or its file, not a {type(completion).__name__}")


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]
