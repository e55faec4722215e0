"""Surrogates of policy gradient, on the log-probs of single actions: tokens, denoising steps, controls alike."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


def score_function(logprobs: Float[Tensor, "n t"], advantage: Float[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """``-A log pi(a|s)``, whose gradient is REINFORCE (Williams 1992); with advantage 1 it is the supervised loss."""
    return -advantage.detach() * logprobs


def clipped_surrogate(logprobs: Float[Tensor, "n t"], old: Float[Tensor, "n t"], advantage: Float[Tensor, "n t"],
                      clip_low: float = 0.2, clip_high: float = 0.2, dual: float = float("inf")) -> Float[Tensor, "n t"]:  # fmt: skip
    """``max(-A rho, -A clip(rho, 1 - low, 1 + high))``, rho = pi/pi_old (PPO, Schulman et al. 2017, arXiv 1707.06347).

    Args:
        dual: where A < 0 the loss is at most ``-A dual`` (dual clip, Ye et al. 2020, arXiv 1912.09729), > 1.
    """
    # Beyond e^20 the clip decides anyway, and exp would overflow to a NaN gradient.
    rho = torch.exp((logprobs - old.detach()).clamp(-20, 20))
    a = advantage.detach()
    loss = torch.maximum(-a * rho, -a * rho.clamp(1 - clip_low, 1 + clip_high))
    return loss if dual == float("inf") else torch.where(a < 0, torch.minimum(loss, -a * dual), loss)


def clipped_value_loss(values: Float[Tensor, "n t"], old: Float[Tensor, "n t"], returns: Float[Tensor, "n t"],
                       clip: float = 0.2) -> Float[Tensor, "n t"]:  # fmt: skip
    """``1/2 max((V - R)^2, (V_clipped - R)^2)``, V kept within `clip` of its old value."""
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())


def kl_estimate(logprobs: Float[Tensor, "n t"], reference: Float[Tensor, "n t"],
                kind: KLEstimator = "k3", parts: int = 1) -> Float[Tensor, "n t"]:  # fmt: skip
    """One-sample estimates of KL(pi || pi_ref) at actions drawn from pi (Schulman 2020), d = log pi - log pi_ref.

    k1 = d (unbiased, as a number; its gradient has mean zero, so use it in the reward, not as a loss);
    k2 = d^2/2 (biased, but its gradient is that of the KL); k3 = e^{-d} - 1 + d (unbiased, never negative).

    Args:
        parts: of an action that log-probs are means over, as of a latent's elements: the estimate is that of the whole action,
            over as many.
    """
    d = logprobs - reference.detach()
    if kind == "k1":
        return d
    if kind == "k2":
        return 0.5 * parts * d.square()
    # Beyond e^20 a straight line: a constant would leave + d alone, whose gradient points away from the reference.
    x = -parts * d
    return (torch.expm1(x.clamp(max=20)) + math.exp(20) * (x - 20).clamp(min=0)) / parts + d


def gae(rewards: Float[Tensor, "n t"], values: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"],
        gamma: float = 1.0, lam: float = 0.95) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:  # fmt: skip
    """Generalised advantages ``A_t = sum_l (gamma lam)^l delta_{t+l}`` and returns ``A + V`` (arXiv 1506.02438).

    Args:
        mask: the policy's own steps. Steps between them (an environment's turn) are stepped over: the next own
            step follows directly. After the last own step the value is 0.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    carried = torch.zeros_like(following)
    for t in reversed(range(rewards.shape[1])):
        own = mask[:, t]
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = delta + gamma * lam * carried
        advantages[:, t] = torch.where(own, advantage, 0.0)
        carried = torch.where(own, advantage, carried)
        following = torch.where(own, values[:, t], following)
    return advantages, torch.where(mask, advantages + values, 0.0)
