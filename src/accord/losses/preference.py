"""Losses on preferred and dispreferred completions. ``c`` is chosen, ``r`` rejected, ``h`` a log-ratio to the reference.

Each takes `LogProbs` and returns one loss for each pair (or sample, where the loss is unpaired).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord.errors import ConfigError
from accord.losses.logprobs import LogProbs
from accord.losses.pairwise import Number, pairwise


def dpo(c: LogProbs, r: LogProbs, beta: Number = 0.1, label_smoothing: Number = 0.0,
        margin: Number = 0.0, weight: Number = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``-log s(beta (h_c - h_r) - m)``, Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290).

    Args:
        beta: strength of the tie to the reference, > 0, one for all or one for each pair.
        label_smoothing: probability in [0, 0.5) that the label is wrong (conservative DPO).
        margin, weight: as in `pairwise`.
    """
    _above_zero(beta=beta)
    if not isinstance(label_smoothing, Tensor) and not 0 <= label_smoothing < 0.5:
        raise ConfigError(f"label_smoothing must lie in [0, 0.5), but is {label_smoothing}")
    return pairwise(beta * (c.ratio - r.ratio), 1.0 - label_smoothing, margin, weight)


def ipo(c: LogProbs, r: LogProbs, beta: Number = 0.1) -> Float[Tensor, "n"]:
    """``(h_c - h_r - 1/(2 beta))^2`` with length-averaged log-ratios (Azar et al. 2023, arXiv 2310.12036)."""
    _above_zero(beta=beta)
    h = c.ratio / c.length.clamp(min=1) - r.ratio / r.length.clamp(min=1)
    return (h - 1 / (2 * beta)).square()


def simpo(c: LogProbs, r: LogProbs, beta: Number = 2.0, gamma: Number = 1.0) -> Float[Tensor, "n"]:
    """``-log s(beta (mean log pi_c - mean log pi_r) - gamma)``, reference-free (Meng et al. 2024, arXiv 2405.14734)."""
    _above_zero(beta=beta)
    return pairwise(beta * (c.mean - r.mean), margin=gamma)


def orpo(c: LogProbs, r: LogProbs, beta: Number = 0.1) -> Float[Tensor, "n"]:
    """``-mean log pi_c - beta log s(log odds_c - log odds_r)``, odds of the mean log-prob (Hong et al. 2024, 2403.07691)."""
    _above_zero(beta=beta)
    return -c.mean + beta * pairwise(_log_odds(c.mean) - _log_odds(r.mean))


def rpo(c: LogProbs, r: LogProbs, beta: Number = 0.1, eta: Number = 0.005, *, average: bool = False,
        label_smoothing: Number = 0.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``DPO - eta beta log pi(y_c)``: DPO with an SFT term as adversarial regulariser (Liu et al. 2024, arXiv 2405.16436).

    Args:
        eta: weight of the summed log-prob of the chosen answer; note the beta in front of it.
        average: the paper's variant, ``- eta mean log pi(y_c)``, without beta (eta about 0.2 there).
    """
    if not isinstance(eta, Tensor) and not eta >= 0:
        raise ConfigError(f"eta, the weight of the supervised term, must be at least 0, but is {eta}")
    sft_term = eta * c.mean if average else eta * beta * c.policy
    return dpo(c, r, beta, label_smoothing) - sft_term


def kto(x: LogProbs, desirable: Bool[Tensor, "n"], kl: Float[Tensor, ""], beta: Number = 0.1,
        desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> Float[Tensor, "n"]:  # fmt: skip
    """``w_d (1 - s(beta (h - z)))`` if desirable else ``w_u (1 - s(beta (z - h)))`` (Ethayarajh et al. 2024, 2402.01306).

    Args:
        kl: z, an estimate of KL(policy || reference) on mismatched completions, clamped at 0 here; a constant.
    """
    _above_zero(beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight)
    z = kl.detach().clamp(min=0)
    h = x.ratio
    good = desirable_weight * torch.sigmoid(beta * (z - h))
    bad = undesirable_weight * torch.sigmoid(beta * (h - z))
    return torch.where(desirable, good, bad)


def sft(x: LogProbs, reduce: Literal["mean", "sum"] = "mean") -> Float[Tensor, "n"]:
    """Negative log-likelihood of a completion, for each step or whole."""
    return -(x.mean if reduce == "mean" else x.policy)


def _above_zero(**options: Number) -> None:
    """Refuse numbers that turn a loss round or switch it off; tensors (one for each pair) are the caller's own."""
    for name, value in options.items():
        if not isinstance(value, Tensor) and not value > 0:
            raise ConfigError(f"{name} must be above 0, but is {value}")


def _log_odds(logp: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """``log p - log(1 - p)`` from ``log p < 0``, exact for p near 1 as for p near 0."""
    logp = logp.clamp(max=-1e-7)
    return logp - torch.log(-torch.expm1(logp))
