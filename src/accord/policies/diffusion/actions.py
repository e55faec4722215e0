"""What an episode of denoising consists of, and where a likelihood surrogate looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.batch import Batch
from accord.errors import ConfigError
from accord.policies.diffusion.relay import Guidance
from accord.policies.diffusion.schedule import Number

FLOOR = 1e-4
"""Steps with less spread than this have no usable density; they are played, but not counted as actions."""


@dataclass(frozen=True)
class Denoising:
    """How pictures are drawn.

    Attributes:
        steps: denoising steps (>= 1), which the pipeline's scheduler spaces.
        guidance: classifier-free guidance scale; 1 switches it off. Where two denoisers take turns (Wan 2.2) it may be a list
            with one for each, as `guidance_scale` and `guidance_scale_2` of the pipeline.
        eta: spread of each step between 0 (DDIM, or the flow's ODE) and 1 (DDPM, or its SDE), or a list with one for each;
            > 0 for training rollouts, which learn from the steps that have some.
        common_start: all pictures of a prompt start from the same noise.
        average: log-probs are means over the latent's elements, as DDPO's code has them, not sums: clips and betas
            mean other things then.
        timesteps: the training timestep at which each step begins, falling, in place of the scheduler's spacing.
    """

    steps: int = 20
    guidance: Guidance = 5.0
    eta: float | tuple[float, ...] = 1.0
    common_start: bool = False
    average: bool = False
    timesteps: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("eta", "timesteps", "guidance"):
            if isinstance(found := getattr(self, name), list):
                object.__setattr__(self, name, tuple(found))
            if name != "guidance" and isinstance(found, list | tuple) and len(found) != self.steps:
                raise ConfigError(f"{name} wants one number for each of the {self.steps} steps, but got {len(found)}")
        if self.steps < 1 or any(g < 1 for g in _each(self.guidance)) or not all(0 <= e <= 1 for e in _each(self.eta)):
            raise ConfigError(f"denoising wants steps >= 1, guidance >= 1 and eta in [0, 1], but got {self}")
        if any(a <= b for a, b in pairwise(self.timesteps or ())):
            raise ConfigError(f"timesteps go down, from noise to picture, but are {self.timesteps}")

    def check_trainable(self) -> None:
        """Raise ConfigError for settings under which steps have no density."""
        if not any(_each(self.eta)):
            raise ConfigError("steps without noise have no log-probs: set eta > 0 for training rollouts")


def _each(numbers: float | tuple[float, ...]) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


@dataclass(frozen=True)
class LatentActions(Batch):
    """The path of each episode: latents of all levels, from noise to picture."""

    latents: Float[Tensor, "n t1 c h w"]


@dataclass(frozen=True)
class Draw(Batch):
    """Where the likelihood surrogate looks: ``x_t = alpha x_0 + sigma noise``.

    Attributes:
        level: in [0, 1), one for all completions of a group. noise: one for all of them (k = 1), or one for each.
    """

    level: Float[Tensor, "g"]
    noise: Float[Tensor, "g k c h w"]

    def of_each(self, sizes: Sequence[int]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n c h w"]]:
        """Level and noise of every completion, of groups of these sizes."""
        noise = [z.expand(k, *z.shape[1:]) for z, k in zip(self.noise, sizes, strict=True)]
        return self.level.repeat_interleave(torch.tensor(sizes)), torch.cat(noise)


def gaussian_logprob(
    x: Float[Tensor, "n *d"], mean: Float[Tensor, "n *d"], std: Number, *, average: bool = False
) -> Float[Tensor, "n"]:
    """``log N(x; mean, std^2)``, summed (or averaged) over everything but the first dimension, in float32."""
    each = torch.distributions.Normal(mean.float(), std, validate_args=False).log_prob(x.float()).flatten(1)
    return each.mean(-1) if average else each.sum(-1)
