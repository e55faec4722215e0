"""Losses that draw two views of one thing together and push different things apart."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

EPSILON = 0.05
"""Sharpness of SwAV's codes."""


def simcse(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"], temperature: float = 0.05) -> Float[Tensor, "n"]:
    """``-log [exp(cos(s_i, t_i) / tau) / sum_j exp(cos(s_i, t_j) / tau)]`` of two views s, t of n things (Gao et al. 2021, arXiv 2104.08821)."""
    cosines = normalize(one, dim=-1) @ normalize(other, dim=-1).T / temperature
    return -log_softmax(cosines, -1).diagonal()


def swav(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"], prototypes: Float[Tensor, "k d"],
         temperature: float = 0.1) -> Float[Tensor, "n"]:  # fmt: skip
    """Each view foretells the other's code: which of K prototypes it is near, where all of them are used alike (Caron et al. 2020,
    arXiv 2006.09882). No gradient goes through codes."""
    centres = normalize(prototypes, dim=-1)
    s, t = (normalize(x, dim=-1) @ centres.T for x in (one, other))
    return sum((-(codes(a) * log_softmax(b / temperature, -1)).sum(-1) for a, b in ((s, t), (t, s))), torch.zeros_like(s[:, 0]))  # fmt: skip


@torch.no_grad()
def codes(scores: Float[Tensor, "n k"], *, rounds: int = 3) -> Float[Tensor, "n k"]:
    """Sinkhorn's: ``exp(scores / epsilon)``, scaled in turn until columns have equal sums and rows sum to 1 (the last, exactly)."""
    logs = scores.float() / EPSILON
    for _ in range(rounds):
        logs = log_softmax(logs, 0)
        logs = log_softmax(logs, 1)
    return logs.exp()
