"""Log-probs of given tokens from hidden states, in chunks: the full table of logits never exists."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 128
"""Rows whose logits exist at once on a CPU; an accelerator takes more, to be busy."""


def _chunk(x: Tensor) -> int:
    return CHUNK if x.device.type == "cpu" else 8 * CHUNK


def token_logprobs(hidden: Float[Tensor, "r d"], weight: Float[Tensor, "v d"], target: Int[Tensor, "r"], *,
                   bias: Float[Tensor, "v"] | None = None, temperature: float = 1.0, scale: float = 1.0,
                   softcap: float | None = None) -> Float[Tensor, "r"]:  # fmt: skip
    """``log softmax(cap(scale (W h + b)) / temperature)[target]`` in float32, for one target a row.

    The logits are made again in the backward pass, chunk by chunk; memory is one chunk of them.
    """
    return _TokenLogProbs.apply(hidden, weight, bias, target, temperature, scale, softcap)


def _logits(
    h: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, scale: float, cap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Float32 logits at a temperature, and the soft cap's slope where there is one."""
    z = torch.nn.functional.linear(h, weight, bias).float()
    if cap is None:
        return (z.mul_(scale / temperature) if scale != temperature else z), None
    t = torch.tanh(z * (scale / cap))
    return (cap / temperature) * t, 1 - t.square()


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor,
                temperature: float, scale: float, softcap: float | None) -> Tensor:  # fmt: skip
        out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for s in range(0, len(hidden), size := _chunk(hidden)):
            rows = slice(s, s + size)
            z, _ = _logits(hidden[rows], weight, bias, temperature, scale, softcap)
            out[rows] = z.gather(-1, target[rows, None])[:, 0] - z.logsumexp(-1)
        ctx.save_for_backward(hidden, weight, bias, target)
        ctx.temperature, ctx.scale, ctx.softcap = temperature, scale, softcap
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, target = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        # In half precision the sum over chunks would lose digits: it is kept in float32.
        kept = torch.promote_types(weight.dtype, torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=kept) if wants_weight else None
        grad_bias = torch.zeros_like(bias) if wants_bias else None
        for s in range(0, len(hidden), size := _chunk(hidden)):
            rows = slice(s, s + size)
            h, g = hidden[rows], -grad[rows, None] * (ctx.scale / ctx.temperature)
            z, slope = _logits(h, weight, bias, ctx.temperature, ctx.scale, ctx.softcap)
            # -d logp / d logits = softmax - onehot; the upstream gradient g enters on the narrow side of each product.
            d = torch.softmax(z, -1, out=z)
            d.scatter_add_(1, target[rows, None], d.new_full((1, 1), -1.0).expand(len(h), 1))
            d = (d if slope is None else d * slope).to(weight.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = (d @ weight) * g.to(weight.dtype)
            if grad_weight is not None and grad_weight.dtype == weight.dtype:
                grad_weight.addmm_(d.T, h * g.to(h.dtype))
            elif grad_weight is not None:
                grad_weight += d.T @ (h * g.to(h.dtype))
            if grad_bias is not None:
                grad_bias += (d * g.to(d.dtype)).sum(0)
        grad_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None
