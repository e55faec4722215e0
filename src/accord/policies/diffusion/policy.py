"""Latent diffusion behind the face of a policy: a sample is an episode of Gaussian denoising steps."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.elsewhere import filled
from accord.engine.seeds import Seeds, generator, numbered, of_rows, times
from accord.errors import ConfigError
from accord.losses import LogProbs
from accord.policies.base import Group, Prompt, Rollouts
from accord.policies.diffusion.actions import FLOOR, Denoising, Draw, LatentActions, gaussian_logprob
from accord.policies.diffusion.denoising import StepHook, denoise
from accord.policies.diffusion.model import LatentDiffusion
from accord.policies.frozen import FrozenPolicy
from accord.policies.recompute import recomputed


class DiffusionPolicy(LatentDiffusion):
    """A diffusers pipeline as a policy: see `LatentDiffusion` for what trains.

    Completions are pictures, `[3, H, W]` in [0, 1]; prompts are texts, with pictures where an image adapter reads them.

    Attributes:
        at_once: of more than so many (picture, step) pairs in `logprobs` with gradient, activations are not kept but
            computed again, so many at a time; None keeps all. What `denoise_with_grad` computes again comes in such
            parts too (of 16 pictures or one clip, if None).
    """

    sampling_kind = Denoising
    at_once: int | None = None

    @property
    def part(self) -> int:
        """So many pictures go through the denoiser together where it need not be all."""
        return self.at_once or self.pictures.part

    def noise(
        self, rows: int, seed: int | Seeds | Sequence[int], *where: int, purpose: str = "noise"
    ) -> Float[Tensor, "n c h w"]:
        """Standard Gaussian latents, each row from its own seed (given one for each, or derived from one for all)."""
        if isinstance(seed, int | Seeds):
            one, numbers = numbered(seed, rows)
            places = [(one, *where, row) for row in numbers]
        else:
            places = [(s, *where) for s in seed]
        drawn = [torch.randn(self.latent_shape, generator=generator(*place, purpose=purpose)) for place in places]
        return torch.stack(drawn).to(self.device)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Denoising | Mapping[str, Any] = Denoising(), *, seed: int | Seeds = 0,
               context: dict[str, list[Any]] | None = None, start: Float[Tensor, "n c h w"] | None = None, first: int = 0,
               hooks: Sequence[StepHook] = ()) -> Rollouts:  # fmt: skip
        """Draw n pictures of each prompt; a row's draws depend on (seed, row, step) alone.

        Args:
            start: latents to start from, one for each picture; None draws noise.
            first: number of the first step that runs, whose level `start` is at. The path before it stays at the start.
            hooks: reach into the steps. Steps that they may have changed count as no actions: the policy alone would not
                have taken them.
        """
        if not prompts:
            raise ConfigError("sample() wants at least one prompt")
        sampling = filled(self.sampling_kind(), sampling, "sampling")
        self._check_steps(sampling, first, start)
        group = torch.arange(len(prompts)).repeat_interleave(n)
        condition = self.condition([prompts[g] for g in group.tolist()])
        schedule = self.schedule(sampling.timesteps or sampling.steps)
        x = self._start(len(prompts), n, sampling, seed) * schedule.start if start is None else start.to(self.device)
        path, counted = [x] * (first + 1), [False] * first
        logprobs = [x.new_zeros(len(x))] * first
        for at in denoise(self, x, condition, schedule, guidance=sampling.guidance, eta=sampling.eta, seed=times(seed, n), first=first, hooks=hooks):  # fmt: skip
            x = at.after
            path.append(x)
            counted.append(at.std > FLOOR and not hooks)
            density = partial(gaussian_logprob, x, at.mean, at.std, average=sampling.average)
            logprobs.append(density() if counted[-1] else x.new_zeros(len(x)))
        images = self.pictures.decode(x).cpu()
        steps = torch.tensor(counted)
        return Rollouts(
            prompts=list(prompts), group=group, completions=list(images), mask=steps.expand(len(x), -1),
            logprobs=torch.stack(logprobs, 1).cpu(), finished=torch.ones(len(x), dtype=torch.bool),
            actions=LatentActions(torch.stack(path, 1).cpu()), sampling=sampling,
            context={k: [v[g] for g in group.tolist()] for k, v in (context or {}).items()},
            averaged=x[0].numel() if sampling.average else 1,
        )  # fmt: skip

    def _start(self, prompts: int, n: int, sampling: Denoising, seed: int | Seeds) -> Float[Tensor, "n c h w"]:
        if sampling.common_start:
            return self.noise(prompts, seed).repeat_interleave(n, 0)
        return self.noise(prompts * n, times(seed, n))

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``log N(x_{t+1}; mean_theta(x_t), std^2)`` of every counted step, summed over the latent, with grad."""
        sampling, latents = rollouts.sampling, rollouts.actions.latents.to(self.device)
        schedule, condition = (
            self.schedule(sampling.timesteps or sampling.steps),
            self.condition(rollouts.prompt_of_each()),
        )
        rows, steps = rollouts.mask.to(self.device).nonzero(as_tuple=True)
        out = latents.new_zeros(rollouts.mask.shape)
        if not len(rows):
            return out
        size = self.at_once or len(rows)

        def density(x: Tensor, pairs: Tensor) -> Tensor:
            row, i = rows[pairs], steps[pairs]
            t = schedule.timesteps.to(i.device)[i]
            mean, std = schedule.step(x, self.predict(x, t, condition.select(row), sampling.guidance), i, sampling.eta)
            return gaussian_logprob(latents[row, i + 1], mean, std, average=sampling.average)

        def part(pairs: Tensor) -> Tensor:
            x = latents[rows[pairs], steps[pairs]]
            if len(parts) == 1:
                return density(x, pairs)
            return recomputed(lambda x, r: density(x, pairs[r]), list(self.parameters()), x, size)

        parts = torch.arange(len(rows), device=self.device).split(size)
        found = [part(pairs) for pairs in parts]
        return out.index_put((rows, steps), torch.cat(found))

    def draw(self, groups: Sequence[Group], seed: int | Seeds) -> Draw:
        """A random level and noise for each group: those of Diffusion-DPO."""
        level = of_rows(lambda n, g: torch.rand(n, generator=g), seed, len(groups), "level")
        return Draw(level, self.noise(len(groups), seed, purpose="draw").cpu()[:, None])

    def likelihood(self, groups: Sequence[Group], draw: Draw | None = None) -> LogProbs:
        """``-1/2 mean (target - output)^2`` at the draw: a bound on the log-likelihood up to level weights and constants.

        Without guidance: a denoiser that is told of it (FLUX.1 dev) is told 1, at which others train it as well.

        Args:
            draw: from `draw`; None derives one from the groups' places.
        """
        output, target = self.denoised(groups, draw or self.draw(groups, 0))
        error = (target - output).square().mean(tuple(range(1, output.ndim)))
        return LogProbs(policy=-0.5 * error, length=torch.ones_like(error))

    def denoised(self, groups: Sequence[Group], draw: Draw, guidance: float = 1.0) -> tuple[Float[Tensor, "n c *places"], Float[Tensor, "n c *places"]]:  # fmt: skip
        """What the denoiser says of each completion at the draw, and what it should say.

        Args:
            guidance: what a denoiser is told that has it as an input; others say what they say without.
        """
        level, noise = draw.of_each([len(g.completions) for g in groups])
        clean, noise = self.pictures.latents([c for g in groups for c in g.completions]), noise.to(self.device)
        schedule, ones = self.schedule(2), [1] * (clean.ndim - 1)
        timestep, alpha, sigma = (v.to(self.device) for v in schedule.training(level))
        a, s = alpha.reshape(-1, *ones), sigma.reshape(-1, *ones)
        condition = self.condition([g.prompt for g in groups for _ in g.completions])
        told = guidance if self.family.guidance == "embedded" else 1.0
        return self.predict(a * clean + s * noise, timestep, condition, told), schedule.target(clean, noise, a, s)

    def denoise_with_grad(self, prompts: Sequence[Prompt], sampling: Denoising | Mapping[str, Any] = Denoising(), *, grad: int | Sequence[int] = 1, cut: bool = True,
                          stop: int | None = None, seed: int | Sequence[int] = 0, start: Tensor | None = None, first: int = 0,
                          hooks: Sequence[StepHook] = (), recompute: bool = True) -> Float[Tensor, "n 3 H W"]:  # fmt: skip
        """Pictures with gradient through some of the denoising steps.

        Args:
            grad: the last so many steps that run, or the steps by number, that carry gradient; the others run without.
            cut: at a step without, no gradient passes to those before it; else only its prediction is a constant, and
                the latent's own path stays (AlignProp's released code).
            stop: number of the last step; its predicted clean latent is decoded (ReFL). None runs to the end.
            start: latents to start from (may require grad); None draws noise.
            first: number of the first step, whose level `start` is at: pictures noised so far (`renoise`), or of any origin.
            hooks: reach into the steps; what they train beside the policy wants recompute=False.
            recompute: keep one latent a step instead of activations, and make them again for some pictures at a time: what
                it takes beyond latents grows neither with the steps nor with the pictures.
        """
        sampling = filled(self.sampling_kind(), sampling, "sampling")
        self._check_steps(sampling, first, start)
        schedule, condition = self.schedule(sampling.timesteps or sampling.steps), self.condition(prompts)
        last = len(schedule) - 1 if stop is None else stop
        if not first <= last < len(schedule):
            raise ConfigError(
                f"stop={stop} is not one of the {len(schedule)} steps" + (f" from {first} on" if first else "")
            )
        counted = set(range(last + 1 - grad, last + 1)) if isinstance(grad, int) else set(grad)
        if not counted or not counted <= set(range(first, last + 1)):
            raise ConfigError(f"grad={grad} names no steps within {first} to {last}")
        x, size = self.noise(len(prompts), seed) * schedule.start if start is None else start.to(self.device), self.part
        for at in denoise(self, x, condition, schedule, guidance=sampling.guidance, eta=sampling.eta, seed=seed, first=first, stop=last,
                          hooks=hooks, grad=counted, cut=cut, part=size if recompute else None):  # fmt: skip
            if at.number == last:  # where it ends no noise is added: nothing would take it away again
                x = at.clean if stop is not None or schedule.consistency else at.mean
        if not recompute:
            return self.pictures.decode(x)
        return recomputed(lambda x, rows: self.pictures.decode(x), (), x, size)

    @staticmethod
    def _check_steps(sampling: Denoising, first: int, start: Tensor | None) -> None:
        if not 0 <= first < sampling.steps:
            raise ConfigError(f"first={first} is not one of the {sampling.steps} steps")
        if first and start is None:
            raise ConfigError(f"first={first} wants the latents at that level: give start (of `renoise`, or of a path)")

    def freeze(self, which: str = "base") -> FrozenPolicy:
        """A frozen twin.

        Args:
            which: "base", the policy as it began: the weights under a LoRA that began here, else a copy as it is (freeze before
                you train); "now", a copy; or the folder of a pipeline.
        """
        if which == "base" and self.adapted and self.new_lora:
            return FrozenPolicy(self, adapter_off=True)
        if which in ("base", "now"):
            return FrozenPolicy(self._twin())
        return FrozenPolicy(DiffusionPolicy.load(which, device=self.device, dtype=self.dtype, size=self.family.sides))

    def _twin(self) -> "DiffusionPolicy":
        """A copy of the denoiser over the same frozen parts."""
        twin = copy.copy(self.pipeline)
        # Together, so that the copy's attention sees the copied adapter.
        denoisers, adapter = copy.deepcopy((self.denoisers, self.image_adapter))
        for name, part in denoisers.items():
            setattr(twin, name, part)
        return DiffusionPolicy(twin, self.name, adapter, size=self.family.sides).requires_grad_(False)
