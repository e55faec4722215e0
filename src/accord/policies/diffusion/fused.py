"""Layers of denoisers and decoders done leaner: what is cheap to make again is not kept for the backward pass.

The numbers are those of diffusers' modules; where one of them is set up in another way than usual it runs as it is.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, silu

from accord.policies import fused


def lean(model: nn.Module) -> None:
    """Make residual blocks, gated layers and frozen convolutions keep fewer activations, and LoRAs as `fused.lean` does.

    Of the portraits' parts the decoder keeps a third of what it kept, the U-Net with LoRA two thirds.
    """
    fused.lean(model)
    for module in model.modules():
        if (forward := FORWARDS.get(type(module).__name__)) and type(module).__module__.startswith(
            ("diffusers", "torch")
        ):
            fused.swap(module, forward)


def _residual(self: Any, x: Tensor, temb: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
    if (
        args
        or kwargs
        or self.upsample is not None
        or self.downsample is not None
        or (temb is not None and self.time_embedding_norm != "default")
        or type(self.nonlinearity) is not nn.SiLU
        or {type(self.norm1), type(self.norm2)} != {nn.GroupNorm}
        or (self.training and self.dropout.p > 0)
        or torch.is_autocast_enabled(x.device.type)
    ):
        return self.plain(x, temb, *args, **kwargs)
    h = self.conv1(norm_silu(self.norm1, x))
    if self.time_emb_proj is not None and temb is not None:
        h = h + self.time_emb_proj(temb if self.skip_time_act else silu(temb))[:, :, None, None]
    h = self.conv2(norm_silu(self.norm2, h))
    out = h + (x if self.conv_shortcut is None else self.conv_shortcut(x))
    return out if self.output_scale_factor == 1 else out / self.output_scale_factor


def norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """``silu(norm(x))``; keeps x and the groups' moments."""
    return _NormSiLU.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps)


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        x = x.contiguous(memory_format=_format(x))
        ctx.groups = groups
        n, c = x.shape[:2]
        normed, mean, scale = torch.ops.aten.native_group_norm(x, weight, bias, n, c, x[0, 0].numel(), groups, eps)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        return torch.nn.functional.silu(normed, inplace=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, scale = ctx.saved_tensors
        n, c = x.shape[:2]
        places = (n, c, *[1] * (x.ndim - 2))
        wide = torch.promote_types(x.dtype, torch.float32)
        each, middle = (t.to(wide).repeat_interleave(c // ctx.groups, 1) for t in (scale, mean))
        factor = each * weight
        normed = torch.addcmul((bias - middle * factor).view(places), x, factor.view(places)).to(x.dtype)
        inner = torch.ops.aten.silu_backward(grad.contiguous(memory_format=_format(x)), normed)
        found = torch.ops.aten.native_group_norm_backward(
            inner, x, mean, scale, weight, n, c, x[0, 0].numel(), ctx.groups, ctx.needs_input_grad[:3]
        )
        return *found, None, None


def _format(x: Tensor) -> torch.memory_format:
    """The order of memory in which group norm has a kernel: channels last it has one on the CPU alone."""
    if x.ndim != 4 or x.device.type != "cpu":
        return torch.contiguous_format
    _, c, h, w = x.shape
    return torch.channels_last if x.stride() == (c * h * w, 1, w * c, c) else torch.contiguous_format


def _gated(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args or kwargs or x.device.type == "npu":
        return self.plain(x, *args, **kwargs)
    return _GeGLU.apply(self.proj(x))


class _GeGLU(torch.autograd.Function):
    """``h gelu(gate)`` of ``[h, gate]``; keeps that alone."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        h, gate = both.chunk(2, -1)
        return gelu(gate).mul_(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        h, gate = both.chunk(2, -1)
        found = torch.empty_like(both)
        of_h, of_gate = found.chunk(2, -1)
        torch.mul(grad, gelu(gate), out=of_h)
        of_gate.copy_(torch.ops.aten.gelu_backward(grad * h, gate))
        return found


def _conv(self: Any, x: Tensor) -> Tensor:
    if (
        not (torch.is_grad_enabled() and x.requires_grad)
        or self.weight.requires_grad
        or self.padding_mode != "zeros"
        or isinstance(self.padding, str)
        or torch.is_autocast_enabled(x.device.type)
    ):
        return self.plain(x)
    return _FrozenConv.apply(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _FrozenConv(torch.autograd.Function):
    """A convolution whose weights don't train keeps nothing: its gradient in x doesn't depend on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how = how
        # Shape and order of memory without memory: backward kernels are slow for a tensor of stride 0.
        ctx.like = torch.empty_like(x, device="meta")
        return conv2d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        x = torch.empty_like(ctx.like, device=grad.device)
        found, _, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [True, False, False]
        )
        return found, *[None] * 6


FORWARDS = {"ResnetBlock2D": _residual, "GEGLU": _gated, "Conv2d": _conv}
