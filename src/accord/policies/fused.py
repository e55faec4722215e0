"""Layers done leaner: what is cheap to make again is not kept for the backward pass, a LoRA is added to its weights where
that is less work than adding up outputs, and a product with few rows runs the way round that CPUs are fast at.

The numbers are those of the modules they stand in for; only when autograd or autocast would need more do those run.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
MLPS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")


WIDE = {torch.float32, torch.float64}
"""Dtypes in which a weight holds the little that a LoRA adds to it; narrower ones would round it away."""
FEW = 32
"""Up to so many rows ``W x^T`` is faster on a CPU than ``x W^T`` (1.6 times at 16 rows, with MKL)."""


def lean(model: nn.Module) -> None:
    """Make RMSNorms, gated MLPs of the Llama kind and LoRAs keep fewer activations, and linear layers decode faster.

    Modules change their class, not their attributes: copies, adapters and saved files see nothing of it.
    """
    for module in model.modules():
        kind = type(module)
        if kind.__name__ in NORMS:
            swap(module, _norm)
        elif kind.__name__ in MLPS and type(module.act_fn).__name__.startswith("SiLU"):
            swap(module, _mlp)
        elif kind is nn.Linear:
            swap(module, _linear)
        elif kind.__name__ == "Linear" and kind.__module__.startswith("peft.tuners.lora"):
            swap(module, _lora)


_LEAN: dict[type, Any] = {}


def swap(module: Any, forward: Any) -> None:
    """Give a module another forward by a subclass of its class, made once; its own is there as `plain`."""
    kind = type(module)
    if kind not in _LEAN:
        members = {"forward": forward, "plain": kind.forward, "__module__": __name__}
        _LEAN[kind] = type(f"Lean{kind.__name__}", (kind,), members)
    module.__class__ = _LEAN[kind]


def _linear(self: Any, x: Tensor) -> Tensor:
    if torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
        return self.plain(x)
    return product(x, self.weight, self.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b``, the other way round where rows are few."""
    if x.device.type != "cpu" or x[..., 0].numel() > FEW:
        return linear(x, weight, bias)
    y = (weight @ x.flatten(0, -2).T).T.contiguous().unflatten(0, x.shape[:-1])
    return y if bias is None else y + bias


def _norm(self: Any, x: Tensor) -> Tensor:
    return _RMSNorm.apply(x, self.weight, self.variance_epsilon)


def _mlp(self: Any, x: Tensor) -> Tensor:
    down = self.down_proj
    if (
        type(down) not in (nn.Linear, _LEAN.get(nn.Linear))
        or down.bias is not None
        or torch.is_autocast_enabled(x.device.type)
    ):
        return self.plain(x)  # an adapter sits on the projection, or dtypes are not ours to choose
    return _GatedDown.apply(self.gate_proj(x), self.up_proj(x), down.weight)


def _lora(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    name = None if args or kwargs else _to_add(self, x)
    if name is None:
        return self.plain(x, *args, **kwargs)
    base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
    if not torch.is_grad_enabled():
        return linear(x, torch.addmm(base.weight, b, a, alpha=self.scaling[name]), base.bias)
    return _LoRA.apply(x, base.weight, base.bias, a, b, self.scaling[name])


def _to_add(self: Any, x: Tensor) -> str | None:
    """The one plain adapter over frozen weights that can be added to them, and with gain."""
    on = [a for a in self.active_adapters if a in self.lora_A]
    if self.disable_adapters or self.merged or self.lora_variant or len(on) != 1:
        return None
    base, name = self.base_layer, on[0]
    plain = type(base) in (nn.Linear, _LEAN.get(nn.Linear)) and not any(p.requires_grad for p in base.parameters())
    drops = self.training and isinstance(self.lora_dropout[name], nn.Dropout)
    if not plain or drops or self.lora_bias[name] or torch.is_autocast_enabled(x.device.type):
        return None
    wide = {x.dtype, base.weight.dtype, self.lora_A[name].weight.dtype} <= WIDE
    many = x[..., 0].numel() >= x.shape[-1]  # else to make W + s B A is the greater work
    return name if wide and many else None


class _LoRA(torch.autograd.Function):
    """``(W + s B A) x``: one product for as many rows as there are; keeps x alone. W and its bias are frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale = scale
        return linear(x, torch.addmm(weight, b, a, alpha=scale), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        rows, grads = x.flatten(0, -2), grad.flatten(0, -2)
        grad_x = grad @ torch.addmm(weight, b, a, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        grad_a = ctx.scale * ((grads @ b).T @ rows) if ctx.needs_input_grad[3] else None
        grad_b = ctx.scale * (grads.T @ (rows @ a.T)) if ctx.needs_input_grad[4] else None
        return grad_x, None, None, grad_a, grad_b, None


class _RMSNorm(torch.autograd.Function):
    """``w x / rms(x)``; keeps x and one number a row, not the normalised x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(torch.linalg.vecdot(wide, wide)[..., None] / x.shape[-1] + eps)
        ctx.save_for_backward(x, weight, scale)
        normed = (wide * scale).to(x.dtype)
        return normed.mul_(weight) if normed.dtype == weight.dtype else weight * normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad.float() * normed).flatten(0, -2).sum(0).to(weight.dtype)
        g = (grad * weight).float()
        inner = torch.linalg.vecdot(g, normed)[..., None] / x.shape[-1]
        return g.sub_(normed.mul_(inner)).mul_(scale).to(x.dtype), grad_weight, None


class _GatedDown(torch.autograd.Function):
    """``W (silu(gate) * up)``; keeps gate and up, makes their product again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return product(silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        activated = silu(gate)
        grad_weight = None
        if ctx.needs_input_grad[2]:
            grad_weight = grad.flatten(0, -2).T @ (activated * up).flatten(0, -2)
        inner = grad @ weight
        grad_up = activated.mul_(inner)
        return torch.ops.aten.silu_backward(inner.mul_(up), gate), grad_up, grad_weight
