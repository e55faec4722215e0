"""The path from noise to picture as plain numbers, whatever diffusers scheduler it came from.

Latents are kept in the form ``x_t = alpha_t x_0 + sigma_t eps`` (for schedulers in the space of ``x_0 + s eps``: divided by
``sqrt(1 + s^2)``, which is what their models see). Every step is then the same Gaussian, and every sampler here is this
Gaussian with its own spread:

    x_s ~ N( alpha_s x_0 + sqrt(sigma_s^2 - std^2) eps, std^2 )

DDIM has std 0, DDPM and Euler-ancestral the posterior's, a consistency sampler sigma_s, and eta scales between.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.errors import ModelError

Predicts = Literal["epsilon", "v_prediction", "sample", "flow"]
CONSISTENCY = 0.5
"""Data deviation in the boundary condition of latent consistency models."""


Place = int | Int[Tensor, "n"]
"""A level, the same for all rows or one for each."""
Number = float | Float[Tensor, "n *ones"]
Eta = float | Sequence[float]
"""Spread as a share of DDPM's, the same at all steps or one for each."""


@dataclass(frozen=True)
class Schedule:
    """T steps between T + 1 levels, from noise (0) to picture (T).

    Attributes:
        timesteps: what the model is told at each level but the last.
        alpha, sigma: share of picture and of noise at each level.
        predicts: what the model's output means.
        consistency: whether the model maps any level straight to the picture (LCM).
        timestep_scale: factor on timesteps in the consistency boundary condition.
        scheduler, shift: what it was made of, see `of`.
        start: how much noise a path begins with, of the noise that level 0 has besides its bit of picture: 1, but for Euler's schedulers that
            leave the bit out (Turbo's).
    """

    timesteps: Float[Tensor, "t"]
    alpha: Float[Tensor, "t1"]
    sigma: Float[Tensor, "t1"]
    predicts: Predicts
    consistency: bool = False
    timestep_scale: float = 10.0
    scheduler: Any = None
    shift: float | None = None
    start: float = 1.0

    def __len__(self) -> int:
        return len(self.timesteps)

    @classmethod
    def of(cls, scheduler: Any, steps: int | Sequence[float], shift: float | None = None, **spacing: Any) -> "Schedule":
        """The schedule that a diffusers scheduler takes in so many steps, or at given timesteps, to its own end.

        Args:
            shift: of a flow's levels in training; None is the scheduler's own.
            spacing: what its `set_timesteps` is called with, if not the number of steps.

        Raises:
            ModelError: the scheduler's path is not of this form.
        """
        if isinstance(steps, Sequence):
            end = cls.of(scheduler, len(steps), shift, **spacing)
            t = torch.tensor(steps, dtype=torch.float32)
            _, alpha, sigma = end.training(end.level_of(t))
            return replace(
                end, timesteps=t, alpha=torch.cat([alpha, end.alpha[-1:]]), sigma=torch.cat([sigma, end.sigma[-1:]])
            )
        name = type(scheduler).__name__.removesuffix("Scheduler")
        scheduler = type(scheduler).from_config(scheduler.config)
        start = 1.0
        scheduler.set_timesteps(**(spacing or {"num_inference_steps": steps}))
        t = torch.as_tensor(scheduler.timesteps).double()
        if is_flow(scheduler):
            sigma = torch.as_tensor(scheduler.sigmas).double()
            if not bool(sigma.isfinite().all()):  # stretched to a last level that is also the first
                raise ModelError(f"the scheduler {name} of this pipeline has no path of {len(t)} step: take 2 or more")
            return cls(t.float(), (1 - sigma).float(), sigma.float(), "flow", scheduler=scheduler, shift=shift)
        if name in ("DDIM", "DDPM", "LCM"):
            table = scheduler.alphas_cumprod.double()
            # A consistency model's last prediction is the picture, without noise that would reach nobody.
            last = torch.as_tensor(1.0 if name == "LCM" else getattr(scheduler, "final_alpha_cumprod", 1.0)).double()
            bar = torch.cat([table[t.long()], last[None]])
        elif name in ("EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep", "PNDM"):
            bar = _levels(scheduler, t)
            if name.startswith("Euler") and not math.isclose(
                found := float(scheduler.init_noise_sigma * bar[0].sqrt()), 1, rel_tol=1e-5
            ):
                start = found
        else:
            raise ModelError(
                f"no training path for the scheduler {name}: set a DDIM, DDPM, Euler, LCM or FlowMatchEuler scheduler"
            )
        return cls(t.float(), bar.sqrt().float(), (1 - bar).clamp(min=0).sqrt().float(), scheduler.config.prediction_type,
                   name == "LCM", float(getattr(scheduler.config, "timestep_scaling", 10.0)), scheduler, shift, start)  # fmt: skip

    def training(self, u: Float[Tensor, "n"]) -> tuple[Tensor, Tensor, Tensor]:
        """Timestep, alpha and sigma at uniform draws u in [0, 1); see `training_levels`."""
        return training_levels(self.scheduler, u, self.shift)

    def level_of(self, timestep: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """A draw for which `training` gives this timestep (to a thousandth, for flows)."""
        if not is_flow(self.scheduler):
            return (timestep + 0.5) / len(self.scheduler.alphas_cumprod)
        shift = shift_of(self.scheduler, self.shift)
        sigma = timestep / self.scheduler.config.num_train_timesteps
        plain = sigma / (shift - (shift - 1) * sigma)
        return ((plain * 1000).round() - 0.5).clamp(min=0) / 999

    def split(self, x: Tensor, output: Tensor, i: Place) -> tuple[Tensor, Tensor]:
        """Picture and noise that a model's output at level i stands for."""
        a, s = _at(self.alpha, i, x), _at(self.sigma, i, x)
        match self.predicts:
            case "epsilon":
                return (x - s * output) / a, output
            case "v_prediction":
                return a * x - s * output, s * x + a * output
            case "sample":
                if isinstance(s, float) and s < 1e-6:  # a clean latent says nothing of its noise
                    return x / a, torch.zeros_like(x)
                return output, (x - a * output) / (s + 1e-8)
            case _:
                return x - s * output, x + a * output

    def picture(self, x: Tensor, output: Tensor, i: Place) -> Tensor:
        """The clean latent predicted at level i."""
        clean, _ = self.split(x, output, i)
        if not self.consistency:
            return clean
        scaled = _at(self.timesteps, i, x) * self.timestep_scale
        skip = CONSISTENCY**2 / (scaled**2 + CONSISTENCY**2)
        return scaled / (scaled**2 + CONSISTENCY**2) ** 0.5 * clean + skip * x

    def std(self, i: int, eta: Eta) -> float:
        """Spread of the step from level i to i + 1."""
        a, s = self.alpha.double(), self.sigma.double()
        if self.consistency:
            return float(s[i + 1])
        eta = eta[i] if isinstance(eta, Sequence) else eta
        if eta == 0 or float(s[i + 1]) == 0 or float(a[i + 1]) == 0:
            return 0.0
        left = (s[i].square() - (a[i] / a[i + 1] * s[i + 1]).square()).clamp(min=0).sqrt()
        return eta * float(s[i + 1] / s[i] * left)

    def step(self, x: Tensor, output: Tensor, i: Place, eta: Eta) -> tuple[Tensor, Number]:
        """Mean and standard deviation of the next latent."""
        std: Number = self.std(i, eta) if isinstance(i, int) else _at(self.stds(eta), i, x)
        a, s = _at(self.alpha, i, x, after=1), _at(self.sigma, i, x, after=1)
        if self.consistency:
            return a * self.picture(x, output, i), std
        clean, noise = self.split(x, output, i)
        left = s * s - std * std
        kept = left.clamp(min=0).sqrt() if isinstance(left, Tensor) else max(left, 0.0) ** 0.5
        return a * clean + kept * noise, std

    def stds(self, eta: Eta) -> Float[Tensor, "t"]:
        """Spread of every step."""
        return torch.tensor([self.std(i, eta) for i in range(len(self))])

    def backwards(self) -> "Schedule":
        """The same levels from picture to noise. A step asks the denoiser for the noisier of its two, where it was trained."""
        return replace(self, timesteps=self.timesteps.flip(0), alpha=self.alpha.flip(0), sigma=self.sigma.flip(0))

    def target(self, clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the model should put out for ``alpha x_0 + sigma eps``."""
        match self.predicts:
            case "epsilon":
                return noise
            case "v_prediction":
                return alpha * noise - sigma * clean
            case "sample":
                return clean
            case _:
                return noise - clean


def _at(table: Float[Tensor, "t"], i: Place, x: Tensor, after: int = 0) -> Any:
    """An entry as a number, or each row's shaped for its latent."""
    if isinstance(i, int):
        return float(table[i + after])
    return table.to(x.device)[i.to(x.device) + after].reshape(-1, *[1] * (x.ndim - 1))


def _levels(scheduler: Any, t: Tensor) -> Tensor:
    """Signal shares at the steps of a scheduler in sigma space (with its own interpolation and spacing) or by table."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) == len(t) + 1 and type(scheduler).__name__.startswith("Euler"):
        return 1 / (1 + torch.as_tensor(sigmas).double().square())
    table = scheduler.alphas_cumprod.double()
    return torch.cat([table[t.long()], torch.ones(1, dtype=torch.float64)])


def is_flow(scheduler: Any) -> bool:
    """Whether pictures and noise are mixed along a straight line, ``(1 - sigma) x_0 + sigma eps``."""
    return type(scheduler).__name__.startswith("Flow") or bool(scheduler.config.get("use_flow_sigmas"))


def shift_of(scheduler: Any, shift: float | None = None) -> float:
    """By how much a flow's levels are shifted towards noise, if nothing else says it: 1 is not at all."""
    return float(shift or scheduler.config.get("shift") or scheduler.config.get("flow_shift") or 1.0)


def training_levels(scheduler: Any, u: Float[Tensor, "n"], shift: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Timestep, alpha and sigma at uniform draws u in [0, 1): every trained level is equally likely.

    Args:
        shift: of a flow's levels, see `shift_of`.
    """
    if is_flow(scheduler):
        shift = shift_of(scheduler, shift)
        sigma = (u * 999 + 1).floor() / 1000
        sigma = shift * sigma / (1 + (shift - 1) * sigma)
        return sigma * scheduler.config.num_train_timesteps, 1 - sigma, sigma
    table = scheduler.alphas_cumprod
    t = (u * len(table)).long()
    bar = table[t]
    return t.float(), bar.sqrt(), (1 - bar).sqrt()
