"""Activations that are made twice instead of kept."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.errors import ConfigError


def recomputed(f: Callable[[Tensor, Tensor], Tensor], weights: Sequence[Tensor], x: Tensor, size: int) -> Tensor:
    """``f(x, rows)``, of which only x is kept: the backward pass computes it once more, for so many rows at a time.

    Unlike `torch.utils.checkpoint` it leaves no trace of f's operations until then: thousands of their small nodes would lie
    between large tensors and fragment the heap (on a CPU 20 MB for a denoising step of 64 rows). In several
    processes torch's own way is taken, for the sake of hooks that put sharded weights together.

    Args:
        f: without random numbers; gives a row for each of its first argument's, and is told by the second where in x they stand.
        weights: whatever trains and f depends on beside x.

    Raises:
        ConfigError: in the backward pass, if f depends on anything else that trains: its gradient would be lost.
    """
    rows = torch.arange(len(x), device=x.device)
    if not torch.is_grad_enabled():
        return f(x, rows)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.cat(
            [checkpoint(f, x[r], r, use_reentrant=False, preserve_rng_state=False) for r in rows.split(size)]
        )
    return _Recomputed.apply(f, rows, size, x, *(w for w in weights if w.requires_grad))


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, f: Callable[[Tensor, Tensor], Tensor], rows: Tensor, size: int, x: Tensor, *weights: Tensor
    ) -> Tensor:
        ctx.f, ctx.parts, ctx.weights = f, rows.split(size), weights
        ctx.save_for_backward(x)
        kind = x.device.type
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        return f(x, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        kind, dtype, enabled = ctx.autocast
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[3] else None
        of_weights: list[Tensor | None] = [None] * len(ctx.weights)
        for rows in ctx.parts:
            part = x[rows].detach().requires_grad_(of_x is not None)
            with torch.enable_grad(), torch.autocast(kind, dtype, enabled=enabled):
                out = ctx.f(part, rows)
            wanted = [*ctx.weights, *([part] if of_x is not None else [])]
            _check_leaves(out, wanted)
            found = list(torch.autograd.grad(out, wanted, grad[rows], allow_unused=True))
            if of_x is not None:
                of_x[rows] = found.pop()
            of_weights = [b if a is None else a if b is None else a + b for a, b in zip(of_weights, found, strict=True)]
        return None, None, None, of_x, *of_weights


def _check_leaves(out: Tensor, known: Sequence[Tensor]) -> None:
    """Raise if anything that trains but these has a part in a result."""
    names, seen, todo = {id(t) for t in known}, set(), [out.grad_fn]
    while todo:
        node: Any = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in names:
            raise ConfigError(f"a trained tensor of shape {list(leaf.shape)} that is not the policy's own would get no gradient "
                              "through steps that are made again: take recompute=False")  # fmt: skip
        todo += [n for n, _ in node.next_functions]
