"""The way from noise to picture: one loop over the levels, open at each step to whoever wants to look or to reach in.

Sampling, the chain with gradient, inversion (the same way backwards) and every controlled sampler are this loop. Its latents
at each step, the denoiser's word there and the clean picture that it means are public, in a `Moment`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.seeds import Seeds
from accord.policies.capabilities import Denoises
from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.relay import Guidance
from accord.policies.diffusion.schedule import Eta, Schedule
from accord.policies.recompute import recomputed

Latent = Float[Tensor, "n c h w"]


@dataclass
class Moment:
    """One step on the way, filled in as it is taken.

    Attributes:
        number: of the step; it leads from this level of the schedule to the next.
        x: the latent at its beginning. condition, guidance: what the denoiser is told, and how strongly it is to obey (a
            number, or what else `policy.predict` takes).
        part: see `denoise`.
        output: what it said (after the hooks). mean, std: of the next latent. after: that latent.
    """

    policy: Denoises
    schedule: Schedule
    number: int
    x: Latent
    condition: Condition
    guidance: Any = 1.0
    part: int | None = None
    output: Latent = field(init=False)
    mean: Latent = field(init=False)
    std: float = field(init=False)
    after: Latent = field(init=False)

    @property
    def clean(self) -> Latent:
        """The clean latent that the output stands for, x0_hat."""
        return self.schedule.picture(self.x, self.output, self.number)

    def predict(self, condition: Condition) -> Latent:
        """What the denoiser says here of any condition."""
        t = float(self.schedule.timesteps[self.number])
        if self.part is None:
            return self.policy.predict(self.x, t, condition, self.guidance)

        def some(x: Tensor, rows: Tensor) -> Tensor:
            return self.policy.predict(x, t, condition.select(rows), self.guidance)

        return recomputed(some, list(self.policy.parameters()), self.x, self.part)


class StepHook:
    """Reaches into steps; as it stands it changes nothing."""

    def condition(self, at: Moment, condition: Condition) -> Condition:
        """What the denoiser is told at this step."""
        return condition

    def output(self, at: Moment, output: Latent) -> Latent:
        """What the denoiser is taken to have said."""
        return output

    def latent(self, at: Moment, latent: Latent) -> Latent:
        """Where the step ends."""
        return latent


class Hold(StepHook):
    """Keeps a region on a given path: the rest is painted to fit (blended diffusion, arXiv 2206.02779; RePaint, arXiv 2201.09865).

    Args:
        path: what stands there at each level, from noise to picture: of `noised`, of an inversion, of a sample's own latents.
        mask: 1 where it is held, 0 where not, 1 x h x w for all or one for each row.
    """

    def __init__(self, path: Float[Tensor, "n t1 c h w"], mask: Float[Tensor, "*n 1 h w"]) -> None:
        self.path, self.mask = path, mask

    def latent(self, at: Moment, latent: Latent) -> Latent:
        mask = self.mask.to(latent)
        return mask * self.path[:, at.number + 1].to(latent) + (1 - mask) * latent


class Blend(StepHook):
    """``(1 - share) * output + share * output under another condition``: two prompts in one picture, each in its place.

    Args:
        share: of the other one, the same everywhere or a mask. steps: at which; None means all.
    """

    def __init__(
        self, other: Condition, share: float | Float[Tensor, "*n 1 h w"], steps: Collection[int] | None = None
    ) -> None:
        self.other, self.share, self.steps = other, share, steps

    def output(self, at: Moment, output: Latent) -> Latent:
        if self.steps is not None and at.number not in self.steps:
            return output
        share = self.share.to(output) if isinstance(self.share, Tensor) else self.share
        return output + share * (at.predict(self.other) - output)


def denoise(policy: Denoises, x: Latent, condition: Condition, schedule: Schedule, *, guidance: Guidance = 1.0, eta: Eta = 0.0,
            seed: int | Seeds | Sequence[int] = 0, first: int = 0, stop: int | None = None, hooks: Sequence[StepHook] = (),
            grad: Collection[int] | None = None, cut: bool = True, part: int | None = None) -> Iterator[Moment]:  # fmt: skip
    """Walk down a schedule and tell of every step.

    Args:
        x: the latents at level `first`: noise at 0, or anything noised so far.
        eta: spread of each step, see `Denoising`. seed: of its noise, which depends on (seed, row, number) alone.
        first, stop: numbers of the first and the last step; None goes to the end.
        hooks: each sees what the one before it left.
        grad: the steps that carry gradient (none do where it is switched off around them); None means all.
        cut: at the others no gradient passes to what came before; else only the prediction is a constant, and the latent's
            own path stays.
        part: keep one latent a step instead of the denoiser's activations, and make them again for so many rows at a time;
            None keeps all.
    """
    for i in range(first, len(schedule) if stop is None else stop + 1):
        carries = grad is None or i in grad
        if not carries and cut:
            x = x.detach()
        at = Moment(policy, schedule, i, x, condition, guidance, part)
        with _grad_only_if(carries):
            for hook in hooks:
                at.condition = hook.condition(at, at.condition)
            at.output = at.predict(at.condition)
            for hook in hooks:
                at.output = hook.output(at, at.output)
        mean, std = schedule.step(x, at.output, i, eta)
        at.mean, at.std = mean, float(std)
        at.after = mean + std * policy.noise(len(x), seed, i, purpose="step") if std else mean
        for hook in hooks:
            at.after = hook.latent(at, at.after)
        yield at
        x = at.after


def _grad_only_if(carries: bool) -> AbstractContextManager[Any]:
    return torch.set_grad_enabled(carries and torch.is_grad_enabled())
