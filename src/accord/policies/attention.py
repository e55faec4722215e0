"""Attention over a `TokenTree`, plugged into transformers by name; without a tree it is plain SDPA."""

import logging
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from accord.policies.tree import TokenTree

log = logging.getLogger(__name__)

NAME = "accord_tree"
LARGE = 2**20
"""Scores of one head, in one padded call, from which on a GPU saves more by FlexAttention than its compiler costs."""

# Checked against the padded computation in tests/test_tree.py. Others may pass extra arguments to attention
# (soft caps, sinks, biases) that this function would silently drop, so they take the padded path.
TESTED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gpt2", "gemma3_text"})


def tree_attention(module: torch.nn.Module, query: Float[Tensor, "1 h s d"], key: Float[Tensor, "1 g s d"],
                   value: Float[Tensor, "1 g s d"], attention_mask: Tensor | None, dropout: float = 0.0,
                   scaling: float | None = None, sliding_window: int | None = None,
                   tree: TokenTree | None = None, **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
    """Each branch attends to itself and its ancestors, within the layer's own sliding window."""
    if tree is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if query.device.type == "cuda" and tree.work > LARGE and query.shape[-1] >= 16 and not dropout and _flex.works:
        return _flex(query, key, value, tree, sliding_window, scaling), None
    # A call for each node suits a CPU alone: elsewhere starting a kernel costs as much as what it computes.
    if tree.many_and_small or query.device.type != "cpu":
        return _side_by_side(query, key, value, tree, sliding_window, dropout, scaling), None
    spans = tree.spans(sliding_window)
    # Split once and join what each branch sees: slicing would, in the backward pass, fill a whole row for each slice.
    sizes = [s.stop - s.start for s in spans]
    queries, keys, values = query.split(sizes, 2), key.split(sizes, 2), value.split(sizes, 2)
    out = []
    for q, span in zip(queries, spans, strict=True):
        k, v = (_join(x, span.path) for x in (keys, values))
        mask = None if span.mask is None else span.mask.to(query.device)
        out.append(_attend(q, k, v, mask, dropout, scaling).transpose(1, 2))
    return torch.cat(out, 1), None


class _Flex:
    """FlexAttention with a block mask of the whole row, compiled on first use: what no query sees is never computed.

    Attributes:
        works: False once it couldn't be compiled here.
    """

    works = True

    @cached_property
    def call(self) -> Any:
        from torch.nn.attention.flex_attention import flex_attention

        return torch.compile(flex_attention, dynamic=True)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, tree: TokenTree, window: int | None,
                 scaling: float | None) -> Float[Tensor, "1 s h d"]:  # fmt: skip
        shares = query.shape[1] != key.shape[1]
        mask = tree.blocks(window, query.device)
        try:
            return self.call(query, key, value, block_mask=mask, scale=scaling, enable_gqa=shares).transpose(1, 2)
        except Exception as error:  # whatever a compiler lacks on this machine
            self.works = False
            log.warning("FlexAttention can't be compiled here (%s): trees take padded rows", str(error).strip()[:200])
            return _side_by_side(query, key, value, tree, window, 0.0, scaling)


_flex = _Flex()


def _side_by_side(query: Tensor, key: Tensor, value: Tensor, tree: TokenTree, window: int | None, dropout: float,
                  scaling: float | None) -> Float[Tensor, "1 s h d"]:  # fmt: skip
    """One padded call for all trees, where they are many and small."""
    batch = tree.batch(window)
    b, length = batch.index.shape
    index = batch.index.flatten().to(query.device)

    def rows(x: Tensor) -> Tensor:
        return x[0].transpose(0, 1).index_select(0, index).unflatten(0, (b, length)).transpose(1, 2)

    attended = _attend(rows(query), rows(key), rows(value), batch.mask.to(query.device), dropout, scaling)
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, batch.back.to(query.device))[None]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None
) -> Tensor:
    """Softmax attention under a mask (None: causal), without copies of shared keys where the kernel can do so."""
    groups = query.shape[1] // key.shape[1]
    shares = groups > 1 and query.device.type == "cpu"  # elsewhere a mask and shared keys fall back to the slow kernel
    if groups > 1 and not shares:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, dropout_p=dropout,
                                        scale=scaling, enable_gqa=shares)  # fmt: skip


def _join(parts: tuple[Tensor, ...], path: tuple[int, ...]) -> Tensor:
    return parts[path[0]] if len(path) == 1 else torch.cat([parts[i] for i in path], 2)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
