"""The one pairwise loss under Bradley-Terry, DPO and all their relatives."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

Number = float | Float[Tensor, "*n"]


def pairwise(
    difference: Float[Tensor, "*n"], target: Number = 1.0, margin: Number = 0.0, weight: Number = 1.0
) -> Float[Tensor, "*n"]:
    """Cross-entropy of "the first is preferred": ``-w [p log s(d - m) + (1 - p) log s(m - d)]``.

    Args:
        difference: d, score of the first minus score of the second, any real.
        target: p, probability in [0, 1] that the first is preferred (1 - label smoothing; 0 flips the pair).
        margin: m, by how much the first should lead.
        weight: w, confidence in the pair.
    """
    z = difference - margin
    p = torch.as_tensor(target, dtype=z.dtype, device=z.device)
    return -weight * (p * logsigmoid(z) + (1 - p) * logsigmoid(-z))
