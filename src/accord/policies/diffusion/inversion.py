"""From a picture back towards noise: which latent would have become it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.engine.seeds import Seeds, of_rows, times
from accord.errors import ConfigError
from accord.policies.base import Group, Prompt
from accord.policies.capabilities import Denoises, Inverts
from accord.policies.diffusion.actions import Draw
from accord.policies.diffusion.denoising import Moment, StepHook, denoise
from accord.policies.diffusion.schedule import Schedule


@torch.no_grad()
def invert(policy: Inverts, clean: Float[Tensor, "n c h w"], prompts: Sequence[Prompt], *, steps: int = 20,
           to: Int[Tensor, "n"] | None = None, eta: float = 0.0, guidance: float = 1.0, seed: int | Seeds = 0) -> Float[Tensor, "n c h w"]:  # fmt: skip
    """DDIM inversion (or the flow's ODE run backwards): the latent from which a deterministic sampler makes the picture.

    At each level it takes the denoiser's word at the latent of the level below, an error of first order in 1 / steps.

    Args:
        clean: latents of the pictures. prompts: theirs.
        steps: of the sampler that is inverted. to: how many of them to undo, for each row; None undoes all.
        eta: spread of fresh noise at each step, as a share of what DDPM would add.
        guidance: 1 by default; latents drift with more.
    """
    schedule, condition = policy.schedule(steps), policy.condition(prompts)
    if schedule.consistency:
        raise ConfigError("a consistency sampler has no path to invert: set a DDIM, Euler or flow scheduler")
    undo = torch.full((len(clean),), steps) if to is None else to
    if not bool(((undo >= 0) & (undo <= steps)).all()):
        raise ConfigError(f"to wants between 0 and {steps} steps to undo, but is {undo.tolist()}")
    stay = _Undone(policy, schedule, undo.to(clean.device), eta, seed)
    x = clean
    for at in denoise(
        policy, clean, condition, schedule.backwards(), guidance=guidance, stop=int(undo.max()) - 1, hooks=[stay]
    ):
        x = at.after
    return x


class _Undone(StepHook):
    """Fresh noise on the way, and rows that stay where they are once enough steps are undone."""

    def __init__(
        self, policy: Denoises, schedule: Schedule, undo: Int[Tensor, "n"], eta: float, seed: int | Seeds
    ) -> None:
        self.policy, self.schedule, self.undo, self.eta, self.seed = policy, schedule, undo, eta, seed

    def latent(self, at: Moment, latent: Tensor) -> Tensor:
        i = len(self.schedule) - 1 - at.number
        if self.eta and i:
            fresh = self.policy.noise(len(latent), self.seed, at.number, purpose="inversion")
            latent = latent + self.eta * self.schedule.std(i - 1, 1.0) * fresh
        return torch.where((self.undo > at.number).reshape(-1, *[1] * (latent.ndim - 1)), latent, at.x)


def noised(policy: Inverts, clean: Float[Tensor, "n c h w"], steps: int, seed: int = 0) -> Float[Tensor, "n t1 c h w"]:
    """Pictures at every level of a sampler, from noise down to themselves, each by one noise (what `Hold` keeps a region on)."""
    path = [renoise(policy, clean, steps, keep, seed) for keep in range(steps, 0, -1)]
    return torch.stack([*path, clean], 1)


def renoise(
    policy: Inverts, clean: Float[Tensor, "n c h w"], steps: int, keep: int, seed: int = 0
) -> Float[Tensor, "n c h w"]:
    """Noise pictures up to the level at which so many of a sampler's last steps are still to run (SDEdit, arXiv 2108.01073)."""
    schedule = policy.schedule(steps)
    if not 0 <= keep <= steps:
        raise ConfigError(f"keep wants between 0 and {steps} steps, but is {keep}")
    i = steps - keep
    return float(schedule.alpha[i]) * clean + float(schedule.sigma[i]) * policy.noise(
        len(clean), seed, purpose="renoise"
    )


class InvertedDraw:
    """InPO's choice of where to look (arXiv 2503.18454): at the latent that the policy itself would make each picture from.

    Levels are drawn from the grid of the inversion, so that the latent stands where the loss looks (the released code
    looks up to a grid step beside it).

    Args:
        levels: of the grid. eta: fresh noise on the way.
    """

    def __init__(self, levels: int = 10, eta: float = 0.1) -> None:
        if levels < 1 or not 0 <= eta <= 1:
            raise ConfigError(f"an inverted draw wants levels >= 1 and eta in [0, 1], but got {levels} and {eta}")
        self.levels, self.eta = levels, eta

    def __call__(self, policy: Inverts, groups: Sequence[Group], seed: int | Seeds) -> Draw:
        """``noise = (x_t - alpha x_0) / sigma`` of each completion, at one level for its group."""
        undo = of_rows(lambda n, g: torch.randint(1, self.levels + 1, (n,), generator=g), seed, len(groups), "level")
        sizes = torch.tensor([len(x.completions) for x in groups])
        if len(set(sizes.tolist())) > 1:
            raise ConfigError("inverted draws want groups of one size (pairs)")
        clean = policy.pictures.latents([c for x in groups for c in x.completions])
        prompts = [x.prompt for x in groups for _ in x.completions]
        each = undo.repeat_interleave(sizes)
        there = invert(
            policy, clean, prompts, steps=self.levels, to=each, eta=self.eta, seed=times(seed, int(sizes[0]))
        )
        schedule = policy.schedule(self.levels)
        level = schedule.level_of(schedule.timesteps[self.levels - undo])
        _, alpha, sigma = schedule.training(level.repeat_interleave(sizes))
        shape = (-1, *[1] * (clean.ndim - 1))
        noise = (there - alpha.reshape(shape).to(there) * clean) / sigma.reshape(shape).to(there)
        return Draw(level, noise.unflatten(0, (len(groups), -1)).cpu())
