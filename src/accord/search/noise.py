"""ReNO: better pictures from a frozen one-step model by gradient ascent on its start noise (arXiv 2406.04312)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from accord.elsewhere import filled
from accord.errors import ConfigError, RewardError
from accord.feedback import prompt_of
from accord.policies.capabilities import check
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward, score
from accord.rewards.combine import reward_of
from accord.rewards.reward import name_of, reward_columns


class FromNoise(Protocol):
    """makes pictures from noise, with gradient"""

    def noise(self, rows: int, seed: int) -> Float[Tensor, "n c h w"]: ...
    def denoise_with_grad(self, prompts: Sequence[Any], sampling: Any, *, grad: int = 1, seed: int = 0,
                          start: Tensor | None = None, recompute: bool = True) -> Float[Tensor, "n 3 h w"]: ...  # fmt: skip


@dataclass(frozen=True)
class Optimised:
    """The best picture seen for each prompt, with the noise that made it.

    Attributes:
        values: its reward. history: the reward at every iteration. norms: of the noise, likewise.
    """

    images: Float[Tensor, "n 3 h w"]
    noise: Float[Tensor, "n c h w"]
    values: Float[Tensor, "n"]
    history: Float[Tensor, "i n"]
    norms: Float[Tensor, "i n"]


def norm_log_density(noise: Float[Tensor, "n *d"]) -> Float[Tensor, "n"]:
    """``(d-1) log |e| - |e|^2 / 2``: log-density of a Gaussian's norm up to a constant, greatest at ``sqrt(d-1)``."""
    flat = noise.float().flatten(1)
    squared = flat.square().sum(-1)
    return 0.5 * (flat.shape[1] - 1) * squared.log() - 0.5 * squared


def noise_optimise(policy: FromNoise, reward: Reward, prompts: Sequence[Any], *, sampling: Any = None, iterations: int = 50, lr: float = 1.0,
                   clip: float = 0.1, momentum: float = 0.9, norm_weight: float = 0.01, seed: int = 0,
                   recompute: bool = True, **columns: Any) -> Optimised:  # fmt: skip
    """``max_e r(G(e, c), c) + norm_weight * log p(|e|)`` for each prompt on its own; the policy stays as it is
    (Eyring et al. 2024, arXiv 2406.04312).

    Nesterov steps on gradients whose norm is clipped for each sample. The best is chosen by the reward alone, and the first
    iteration is the plain sample: the result is never worse by that reward.

    Args:
        sampling: few steps without fresh noise between them: one without guidance, unless told otherwise (a one-step model is
            the case for which this works).
        lr: of noise with d elements; grows with sqrt(d): 1 for 256, 5 for 16,384.
        recompute: make activations again for the gradient, at a forward pass more: what it holds stays small, however many the prompts.

    Raises:
        ConfigError: the policy makes no pictures from noise. RewardError: the reward has no gradient in the picture.
    """
    check(policy, FromNoise, "noise optimisation")
    if iterations < 1 or lr <= 0 or clip <= 0 or not 0 <= momentum < 1:
        raise ConfigError(
            f"noise optimisation wants iterations >= 1, lr > 0, clip > 0, 0 <= momentum < 1, but got {iterations}, {lr}, {clip}, {momentum}"
        )
    reward, sampling = reward_of(reward), filled(Denoising(1, 1.0, 0.0), sampling, "sampling")
    columns = {**reward_columns(prompts), **columns}
    prompts = [prompt_of(p) for p in prompts]
    noise = policy.noise(len(prompts), seed).float().requires_grad_()
    optimiser = torch.optim.SGD([noise], lr=lr, momentum=momentum, nesterov=momentum > 0)
    best: dict[str, Tensor] = {}
    history, norms = [], []
    for i in range(iterations):
        images = policy.denoise_with_grad(
            prompts, sampling, grad=sampling.steps, start=noise, seed=seed, recompute=recompute
        )
        said = score(reward, prompts=prompts, completions=images, **columns)
        if not said.values.requires_grad:
            raise RewardError(
                f"reward {name_of(reward)} gives no gradient in the picture: search with best-of-n instead"
            )
        now = {"images": images.detach(), "noise": noise.detach().clone(), "values": said.values.detach()}
        better = (
            now["values"] > best["values"] if best else torch.ones(len(prompts), dtype=torch.bool, device=images.device)
        )
        best = {k: torch.where(better.reshape(-1, *[1] * (v.ndim - 1)), v, best.get(k, v)) for k, v in now.items()}
        history.append(now["values"].cpu())
        norms.append(now["noise"].flatten(1).norm(dim=1).cpu())
        if i + 1 < iterations:
            (grad,) = torch.autograd.grad(-(said.values + norm_weight * norm_log_density(noise)).sum(), noise)
            length = grad.flatten(1).norm(dim=1).clamp(min=1e-12).reshape(-1, *[1] * (grad.ndim - 1))
            noise.grad = grad * (clip / length).clamp(max=1.0)
            optimiser.step()
    return Optimised(**best, history=torch.stack(history), norms=torch.stack(norms))
