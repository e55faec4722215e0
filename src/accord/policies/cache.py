"""A key-value cache that grows in blocks: transformers' own copies all it holds for every new token."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

BLOCK = 64


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers with a sliding window keep their own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """`keys` and `values` are views of the filled part of larger buffers."""

    room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        need = held + key_states.shape[-2]
        if self.room is None or self.room[0].shape[-2] < need:
            self.room = (
                self._larger(self.keys, key_states, held, need),
                self._larger(self.values, value_states, held, need),
            )
        for buffer, new in zip(self.room, (key_states, value_states), strict=True):
            buffer[..., held:need, :] = new
        self.keys, self.values = (buffer[..., :need, :] for buffer in self.room)
        return self.keys, self.values

    @staticmethod
    def _larger(old: Tensor | None, new: Tensor, held: int, need: int) -> Tensor:
        buffer = new.new_empty(*new.shape[:-2], need + BLOCK, new.shape[-1])
        if held and old is not None:
            buffer[..., :held, :] = old
        return buffer

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.room = None

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.room = None
