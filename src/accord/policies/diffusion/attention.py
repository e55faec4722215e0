"""Attention of a denoiser, open to the hand: one processor for U-Nets and joint transformers, with hooks into it.

Captured maps, changed maps, further keys and values, decoupled sources: each is a hook of a few lines.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from accord.errors import ModelError

Heads = Float[Tensor, "n heads length d"]
Maps = Float[Tensor, "n heads queries keys"]


@dataclass(frozen=True)
class Layer:
    """Which attention layer.

    Attributes:
        name: in the denoiser. kind: pixels look at pixels ("self"), at the prompt ("cross"), or both at both ("joint":
            the queries and keys of pixels come first, the prompt's follow).
    """

    name: str
    kind: Literal["self", "cross", "joint"]


class AttentionHook:
    """Looks into attention, or reaches in; as it stands it changes nothing.

    `wants_maps` asks for the probabilities, which costs their memory.
    """

    wants_maps = False

    def keys_values(self, layer: Layer, keys: Heads, values: Heads, pixels: int) -> tuple[Heads, Heads]:
        """What the layer's queries see; the first so many queries are pixels."""
        return keys, values

    def maps(self, layer: Layer, maps: Maps, pixels: int) -> Maps:
        """The probabilities, before they meet the values; the first so many queries are pixels."""
        return maps

    def output(self, layer: Layer, queries: Heads, out: Heads) -> Heads:
        """What the pixels' queries got, before the layer's last projection."""
        return out


class Capture(AttentionHook):
    """Keeps the mean over heads of the maps from pixels to the prompt's tokens, with their graph.

    Attributes:
        found: for each layer's name the maps of its latest call, [n, pixels, tokens].
    """

    wants_maps = True

    def __init__(self) -> None:
        self.found: dict[str, Float[Tensor, "n pixels tokens"]] = {}

    def maps(self, layer: Layer, maps: Maps, pixels: int) -> Maps:
        if layer.kind != "self":
            self.found[layer.name] = maps.mean(1)[:, :pixels, pixels if layer.kind == "joint" else 0 :]
        return maps

    def of_tokens(self, tokens: Sequence[int], side: int) -> Float[Tensor, "n k side side"]:
        """Maps of these tokens at one resolution, averaged over the layers that have it.

        Raises:
            ModelError: no captured layer has so many pixels.
        """
        maps = [m for m in self.found.values() if m.shape[1] == side * side]
        if not maps:
            sides = sorted({round(m.shape[1] ** 0.5) for m in self.found.values()})
            raise ModelError(f"no layer with {side} x {side} pixels was captured, only {sides}")
        mean = torch.stack([m[..., list(tokens)] for m in maps]).mean(0)
        return mean.transpose(1, 2).unflatten(-1, (side, side))


class Repeated(AttentionHook):
    """Joint attention's last word stands for itself and `times` more that are equal to it, as unmasked padding is.

    Args:
        length: of the words when they are so shortened; any others pass as they are.
    """

    def __init__(self, length: int, times: int) -> None:
        self.length, self.times = length, times

    def keys_values(self, layer: Layer, keys: Heads, values: Heads, pixels: int) -> tuple[Heads, Heads]:
        if layer.kind != "joint" or keys.shape[2] - pixels != self.length:
            return keys, values
        return _stretched(keys, self.times), _stretched(values, self.times)


def _stretched(x: Heads, times: int) -> Heads:
    return torch.cat([x, x[:, :, -1:].expand(-1, -1, times, -1)], 2)


KNOWN = {"Processor", "AttnProcessor", "AttnProcessor2_0", "JointAttnProcessor2_0"}
"""Processors that ours can stand in for."""


class Processor:
    """diffusers' attention (its defaults of `AttnProcessor2_0` and `JointAttnProcessor2_0`), with hooks."""

    def __init__(self, layer: Layer, hooks: Sequence[AttentionHook]) -> None:
        self.layer, self.hooks = layer, list(hooks)

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, temb: Tensor | None = None, **unused: Any) -> Any:  # fmt: skip
        if self.layer.kind == "joint":
            return self._joint(attn, hidden_states, encoder_hidden_states)
        x = hidden_states if attn.spatial_norm is None else attn.spatial_norm(hidden_states, temb)
        shape = x.shape
        if x.ndim == 4:
            x = x.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            x = attn.group_norm(x.transpose(1, 2)).transpose(1, 2)
        seen = x if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            seen = attn.norm_encoder_hidden_states(seen)
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, seen.shape[1], len(x))
            attention_mask = attention_mask.view(len(x), attn.heads, -1, attention_mask.shape[-1])
        q, k, v = (_heads(attn, project(y)) for project, y in ((attn.to_q, x), (attn.to_k, seen), (attn.to_v, seen)))
        q, k = _normed(attn.norm_q, q), _normed(attn.norm_k, k)
        out = self._reach_out(q, self._attend(q, k, v, q.shape[2], attention_mask))
        out = attn.to_out[1](attn.to_out[0](_flat(out)))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor

    def _joint(self, attn: Any, x: Tensor, words: Tensor | None) -> Any:
        q, k, v = (_heads(attn, project(x)) for project in (attn.to_q, attn.to_k, attn.to_v))
        q, k = _normed(attn.norm_q, q), _normed(attn.norm_k, k)
        pixels, own = x.shape[1], q
        if words is not None:
            a, b, c = (_heads(attn, project(words)) for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj))
            a, b = _normed(attn.norm_added_q, a), _normed(attn.norm_added_k, b)
            q, k, v = torch.cat([q, a], 2), torch.cat([k, b], 2), torch.cat([v, c], 2)
        out = self._attend(q, k, v, pixels)
        mine = attn.to_out[1](attn.to_out[0](_flat(self._reach_out(own, out[:, :, :pixels]))))
        if words is None:
            return mine
        theirs = _flat(out[:, :, pixels:])
        return mine, theirs if attn.context_pre_only else attn.to_add_out(theirs)

    def _attend(self, q: Heads, k: Heads, v: Heads, pixels: int, mask: Tensor | None = None) -> Heads:
        for hook in self.hooks:
            k, v = hook.keys_values(self.layer, k, v, pixels)
        lookers = [h for h in self.hooks if h.wants_maps]
        if not lookers:
            return scaled_dot_product_attention(q, k, v, attn_mask=mask)
        logits = q @ k.mT / q.shape[-1] ** 0.5
        maps = (logits if mask is None else logits + mask).softmax(-1)
        for hook in lookers:
            maps = hook.maps(self.layer, maps, pixels)
        return maps @ v

    def _reach_out(self, q: Heads, out: Heads) -> Heads:
        for hook in self.hooks:
            out = hook.output(self.layer, q, out)
        return out


def layers(denoiser: Any) -> dict[str, tuple[Layer, Any]]:
    """All attention layers of a denoiser with their modules, by name.

    Raises:
        ModelError: the denoiser's attention can't be hooked.
    """
    if not hasattr(denoiser, "attn_processors"):
        raise ModelError(f"{type(denoiser).__name__} does not show its attention: no hooks for it")
    found = {}
    for key, processor in denoiser.attn_processors.items():
        if type(processor).__name__ not in KNOWN:
            raise ModelError(f"{type(denoiser).__name__} attends in a way of its own ({type(processor).__name__}): no hooks for it, "
                             "as there are for Stable Diffusion")  # fmt: skip
        name = key.removesuffix(".processor")
        module = denoiser.get_submodule(name)
        joint = getattr(module, "added_kv_proj_dim", None) is not None
        kind: Any = "joint" if joint else "cross" if getattr(module, "is_cross_attention", False) else "self"
        found[name] = (Layer(name, kind), module)
    return found


def hook(denoiser: Any, *hooks: AttentionHook) -> None:
    """Install hooks for good, after those that are there."""
    for layer, module in layers(denoiser).values():
        there = module.processor.hooks if isinstance(module.processor, Processor) else []
        module.set_processor(Processor(layer, [*there, *hooks]))


@contextmanager
def hooked(denoiser: Any, *hooks: AttentionHook) -> Iterator[None]:
    """Hooks for a while. What is recomputed for a backward pass outside no longer sees them: take `recompute=False`."""
    before = {name: module.processor for name, (_, module) in layers(denoiser).items()}
    hook(denoiser, *hooks)
    try:
        yield
    finally:
        for name, (_, module) in layers(denoiser).items():
            module.set_processor(before[name])


def _heads(attn: Any, x: Float[Tensor, "n length width"]) -> Heads:
    return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _flat(x: Heads) -> Float[Tensor, "n length width"]:
    return x.transpose(1, 2).flatten(2)


def _normed(norm: Any, x: Heads) -> Heads:
    return x if norm is None else norm(x)
