"""Sums and means over the positions that count. An empty mask gives zero, never NaN."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(x: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"], dim: int | None = None) -> Tensor:
    """Sum of ``x`` where ``mask`` holds; whatever stands elsewhere (NaN too) is ignored."""
    x = x.masked_fill(~mask, 0.0)
    return x.sum() if dim is None else x.sum(dim)


def masked_mean(x: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"], dim: int | None = None) -> Tensor:
    """Mean of ``x`` where ``mask`` holds; 0 where it holds nowhere."""
    count = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(x, mask, dim) / count.clamp(min=1)


def masked_whiten(x: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"], eps: float = 1e-8) -> Tensor:
    """``x`` with mean 0 and (population) variance 1 over the masked positions, 0 elsewhere."""
    centred = (x - masked_mean(x, mask)).masked_fill(~mask, 0.0)
    return centred * torch.rsqrt(masked_mean(centred.square(), mask) + eps)
