"""Two elementwise parts of Llama-like layers with less memory: what is cheap to make again is not kept for the backward pass.

The numbers are those of the modules they stand in for; only when autograd or autocast would need more do those run.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
MLPS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")


def save_activations(model: nn.Module) -> None:
    """Make every RMSNorm and gated MLP of the Llama kind keep fewer activations.

    Modules change their class, not their attributes: copies, adapters and saved files see nothing of it.
    """
    for module in model.modules():
        kind = type(module)
        if kind.__name__ in NORMS:
            module.__class__ = _lean(kind, _norm)
        elif kind.__name__ in MLPS and type(module.act_fn).__name__.startswith("SiLU"):
            module.__class__ = _lean(kind, _mlp)


_LEAN: dict[type, Any] = {}


def _lean(kind: type, forward: Any) -> Any:
    """The subclass of a module's class with another forward, made once."""
    if kind not in _LEAN:
        members = {"forward": forward, "plain": kind.forward, "__module__": __name__}  # type: ignore[attr-defined]
        _LEAN[kind] = type(f"Lean{kind.__name__}", (kind,), members)
    return _LEAN[kind]


def _norm(self: Any, x: Tensor) -> Tensor:
    return _RMSNorm.apply(x, self.weight, self.variance_epsilon)


def _mlp(self: Any, x: Tensor) -> Tensor:
    down = self.down_proj
    if type(down) is not nn.Linear or down.bias is not None or torch.is_autocast_enabled(x.device.type):
        return self.plain(x)  # an adapter sits on the projection, or dtypes are not ours to choose
    return _GatedDown.apply(self.gate_proj(x), self.up_proj(x), down.weight)


class _RMSNorm(torch.autograd.Function):
    """``w x / rms(x)``; keeps x and one number a row, not the normalised x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return weight * (wide * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad.float() * normed).flatten(0, -2).sum(0).to(weight.dtype)
        g = (grad * weight).float()
        inner = (g * normed).mean(-1, keepdim=True)
        return ((g - normed * inner) * scale).to(x.dtype), grad_weight, None


class _GatedDown(torch.autograd.Function):
    """``W (silu(gate) * up)``; keeps gate and up, makes their product again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return linear(silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        s = torch.sigmoid(gate)
        activated = gate * s
        grad_weight = None
        if ctx.needs_input_grad[2]:
            flat = (activated * up).flatten(0, -2)
            grad_weight = grad.flatten(0, -2).T @ flat
        inner = grad @ weight
        grad_up = inner * activated
        # d silu = s (1 + gate (1 - s)) = s + activated (1 - s)
        grad_gate = inner.mul_(up).mul_(s + activated * (1 - s))
        return grad_gate, grad_up, grad_weight
