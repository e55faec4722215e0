"""Activations that are made twice instead of kept."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import checkpoint


def recomputed(f: Callable[..., Tensor], weights: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    """``f(*inputs)``, of which only the inputs are kept: the backward pass computes it once more.

    Unlike `torch.utils.checkpoint` it leaves no trace of f's operations until then: thousands of their small nodes would lie
    between large tensors and fragment the heap (on a CPU 20 MB a denoising step, ten times what is kept). In several
    processes torch's own way is taken, for the sake of hooks that put sharded weights together.

    Args:
        weights: whatever trains and f depends on beside its inputs.
    """
    if not torch.is_grad_enabled():
        return f(*inputs)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return checkpoint.checkpoint(f, *inputs, use_reentrant=False)
    return _Recomputed.apply(f, len(inputs), *inputs, *(w for w in weights if w.requires_grad))


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Callable[..., Tensor], n: int, *tensors: Tensor) -> Tensor:
        ctx.f, ctx.n, ctx.weights = f, n, tensors[n:]
        ctx.save_for_backward(*tensors[:n])
        kind = next((t.device.type for t in tensors), "cpu")
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        ctx.random = checkpoint.get_device_states(*tensors), torch.get_rng_state()
        return f(*tensors[:n])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (devices, states), cpu = ctx.random
        kind, dtype, enabled = ctx.autocast
        inputs = [t.detach().requires_grad_(t.requires_grad) for t in ctx.saved_tensors]
        with torch.random.fork_rng(devices), torch.enable_grad(), torch.autocast(kind, dtype, enabled=enabled):
            torch.set_rng_state(cpu)
            checkpoint.set_device_states(devices, states)
            out = ctx.f(*inputs)
        wanted = [t for t in (*inputs, *ctx.weights) if t.requires_grad]
        found = iter(torch.autograd.grad(out, wanted, grad, allow_unused=True))
        return None, None, *(next(found) if t.requires_grad else None for t in (*inputs, *ctx.weights))
