"""Losses on preferred and dispreferred completions. ``c`` is chosen, ``r`` rejected, ``h`` a log-ratio to the reference.

Each takes `LogProbs` and returns one loss for each pair (or sample, where the loss is unpaired). Every option is one number
for all or a tensor with one for each. Those on pairs all take

    target: probability in [0, 1] that the chosen one is the better; 0 flips the pair.
    margin: by how much it should lead, in the units of what is compared.
    weight: what the pair counts for.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord.errors import ConfigError
from accord.losses.logprobs import LogProbs
from accord.losses.pairwise import Number, pairwise


def dpo(c: LogProbs, r: LogProbs, beta: Number = 0.1, label_smoothing: Number = 0.0, *, target: Number = 1.0,
        margin: Number = 0.0, weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``-log s(beta (h_c - h_r) - m)``, Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290).

    Args:
        beta: strength of the tie to the reference, > 0.
        label_smoothing: probability in [0, 0.5) that the label (or target) is wrong (conservative DPO).
    """
    _within("beta", beta, 0.0)
    _within("label_smoothing", label_smoothing, 0.0, 0.5, closed=True)
    sure = target * (1 - label_smoothing) + (1 - target) * label_smoothing
    return _pairwise(beta * (c.ratio - r.ratio), sure, margin, weight)


def ipo(c: LogProbs, r: LogProbs, beta: Number = 0.1, *, target: Number = 1.0, margin: Number = 0.0,
        weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``(h_c - h_r - m - 1/(2 beta))^2`` with length-averaged log-ratios (Azar et al. 2023, arXiv 2310.12036)."""
    _within("beta", beta, 0.0)
    _sound(target, weight)
    h = c.ratio / c.length.clamp(min=1) - r.ratio / r.length.clamp(min=1) - margin
    wanted = 1 / (2 * beta)
    return weight * (target * (h - wanted).square() + (1 - target) * (h + wanted).square())


def simpo(c: LogProbs, r: LogProbs, beta: Number = 2.0, gamma: Number = 1.0, *, target: Number = 1.0,
          margin: Number = 0.0, weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``-log s(beta (mean log pi_c - mean log pi_r) - gamma - m)``, reference-free (Meng et al. 2024, arXiv 2405.14734).

    Args:
        gamma: the lead that all pairs should have; `margin` comes on top of it.
    """
    _within("beta", beta, 0.0)
    return _pairwise(beta * (c.mean - r.mean), target, gamma + margin, weight)


def orpo(c: LogProbs, r: LogProbs, beta: Number = 0.1, *, target: Number = 1.0, margin: Number = 0.0,
         weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``-mean log pi_c - beta log s(log odds_c - log odds_r - m)``, odds of the mean log-prob (Hong et al. 2024, 2403.07691)."""
    _within("beta", beta, 0.0)
    odds = _log_odds(c.mean) - _log_odds(r.mean)
    return -weight * c.mean + beta * _pairwise(odds, target, margin, weight)


def rpo(c: LogProbs, r: LogProbs, beta: Number = 0.1, eta: Number = 0.005, *, average: bool = False, label_smoothing: Number = 0.0,
        target: Number = 1.0, margin: Number = 0.0, weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``DPO - eta beta log pi(y_c)``: DPO with an SFT term as adversarial regulariser (Liu et al. 2024, arXiv 2405.16436).

    Args:
        eta: weight of the summed log-prob of the chosen answer; note the beta in front of it.
        average: the paper's variant, ``- eta mean log pi(y_c)``, without beta (eta about 0.2 there).
    """
    _within("eta, the weight of the supervised term,", eta, 0.0, closed=True)
    sft_term = eta * c.mean if average else eta * beta * c.policy
    return dpo(c, r, beta, label_smoothing, target=target, margin=margin, weight=weight) - weight * sft_term


def t_reg(c: LogProbs, r: LogProbs, beta: Number = 0.1, alpha: Number = 0.25, *, rewards: Float[Tensor, "n 2 t"] | None = None,
          target: Number = 1.0, margin: Number = 0.0, weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``DPO - alpha w beta sum_t rhat_t log pi(y_t)`` over both answers (Zhou et al. 2024, arXiv 2412.02685), w = |p - s(d - m)| the
    weight of the pair in DPO's gradient, a constant: tokens of c weigh 1 + alpha rhat in it, tokens of r 1 - alpha rhat.

    Args:
        rewards: rhat of the tokens of c and of r, constants in [-1/2, 1/2]; none: DPO.
        alpha: at least 0; above 2 a token's direction may turn round.
    """
    _within("alpha", alpha, 0.0, closed=True)
    plain = dpo(c, r, beta, target=target, margin=margin, weight=weight)
    if rewards is None:
        return plain
    if c.per_step is None or r.per_step is None:
        raise ConfigError("T-REG weighs tokens, but was given no log-probs of steps")
    steps = c.per_step.shape[-1]
    if rewards.shape[-1] < steps:
        raise ConfigError(f"rewards of {rewards.shape[-1]} tokens can't weigh an answer of {steps}: give one for each")
    # There may be more: these may be some rows of a batch, whose longest is not among them
    agreed = (rewards[..., :steps].detach() * torch.stack([c.per_step, r.per_step], 1)).sum((1, 2))
    unsettled = (target - torch.sigmoid(beta * (c.ratio - r.ratio) - margin)).detach().abs()
    return plain - weight * alpha * unsettled * beta * agreed


def kto(x: LogProbs, desirable: Bool[Tensor, "n"], kl: Float[Tensor, ""], beta: Number = 0.1, desirable_weight: Number = 1.0,
        undesirable_weight: Number = 1.0, *, weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``w_d (1 - s(beta (h - z)))`` if desirable else ``w_u (1 - s(beta (z - h)))`` (Ethayarajh et al. 2024, 2402.01306).

    Args:
        kl: z, an estimate of KL(policy || reference) on mismatched completions, clamped at 0 here; a constant.
        weight: what each sample counts for, beside its kind's weight.
    """
    for name, value in (
        ("beta", beta),
        ("desirable_weight", desirable_weight),
        ("undesirable_weight", undesirable_weight),
    ):
        _within(name, value, 0.0)
    _within("weight", weight, 0.0, closed=True)
    z = kl.detach().clamp(min=0)
    h = x.ratio
    good = desirable_weight * torch.sigmoid(beta * (z - h))
    bad = undesirable_weight * torch.sigmoid(beta * (h - z))
    return weight * torch.where(desirable, good, bad)


def sft(x: LogProbs, reduce: Literal["mean", "sum"] = "mean") -> Float[Tensor, "n"]:
    """Negative log-likelihood of a completion, for each step or whole."""
    return -(x.mean if reduce == "mean" else x.policy)


def _pairwise(difference: Float[Tensor, "n"], target: Number, margin: Number, weight: Number) -> Float[Tensor, "n"]:
    _sound(target, weight)
    return pairwise(difference, target, margin, weight)


def _sound(target: Number, weight: Number) -> None:
    _within("target", target, 0.0, 1 + 1e-6, closed=True)
    _within("weight", weight, 0.0, closed=True)


def _within(name: str, value: Number, low: float, high: float = float("inf"), *, closed: bool = False) -> None:
    """Refuse numbers that turn a loss round or switch it off: outside (low, high), or [low, high) if closed."""
    for x in value.tolist() if isinstance(value, Tensor) else [value]:
        if not (low <= x < high if closed else low < x < high):
            below = "" if high == float("inf") else f" and at most {high:g}" if high > 1 else f" and below {high:g}"
            raise ConfigError(f"{name} must be {'at least' if closed else 'above'} {low:g}{below}, but is {x:g}")


def _log_odds(logp: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """``log p - log(1 - p)`` from ``log p < 0``, exact for p near 1 as for p near 0."""
    logp = logp.clamp(max=-1e-7)
    return logp - torch.log(-torch.expm1(logp))
