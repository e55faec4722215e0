"""What belongs together row by row is selected, joined and moved together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Annotated, Any, Self, TypeVar

import torch
from torch import Tensor

Index = Sequence[int] | Tensor


T = TypeVar("T")
Whole = Annotated[T, "whole"]
"""A field that is said of all rows together; joined parts take it from the first."""
Padded = Annotated[T, "padded"]
"""A field of tensors [n, t, …] whose steps t are filled up with zeros where parts of different lengths are joined."""


@dataclass(frozen=True)
class Batch:
    """A dataclass whose fields have an entry for each row: tensors, lists, further batches, dicts of these, or None.

    What a part lacks when parts are joined, the whole lacks too, but for lists: there None stands for its rows.
    Tensors move and lose their graph; what lists hold stays as it is.
    """

    def __len__(self) -> int:
        return next(iter(self.sizes().values()), 0)

    def sizes(self) -> dict[str, int]:
        """How many rows each of the fields has that are there at all."""
        return {k: n for name in self._aligned() for k, n in _sizes(name, getattr(self, name))}

    def select(self, rows: Index) -> Self:
        """The given rows in the given order; one can come more than once."""
        index = torch.as_tensor(rows if isinstance(rows, Tensor) else list(rows), dtype=torch.long)
        return replace(self, **{name: _pick(getattr(self, name), index) for name in self._aligned()})

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order."""
        lengths = [len(p) for p in parts]
        return replace(
            parts[0],
            **{name: _join([getattr(p, name) for p in parts], lengths, pad) for name, pad in cls._aligned().items()},
        )

    def to(self, device: torch.device | str) -> Self:
        """The same, its tensors there."""
        return replace(self, **{f.name: _each(getattr(self, f.name), "to", device) for f in fields(self)})

    def detach(self) -> Self:
        """The same, its tensors without their graph."""
        return replace(self, **{f.name: _each(getattr(self, f.name), "detach") for f in fields(self)})

    @classmethod
    def _aligned(cls) -> dict[str, bool]:
        """The fields with an entry for each row, and which of them are padded."""
        marks = {f.name: getattr(f.type, "__metadata__", ()) for f in fields(cls)}
        return {name: "padded" in mark for name, mark in marks.items() if "whole" not in mark}


def _sizes(name: str, x: Any) -> list[tuple[str, int]]:
    if x is None:
        return []
    if isinstance(x, Mapping):
        return [pair for k, v in x.items() for pair in _sizes(f"{name}.{k}", v)]
    return [(name, 0 if isinstance(x, Tensor) and not x.ndim else len(x))]


def _pick(x: Any, index: Tensor) -> Any:
    if x is None:
        return None
    if isinstance(x, Tensor):
        return x[index.to(x.device)]
    if isinstance(x, Mapping):
        return {k: _pick(v, index) for k, v in x.items()}
    if isinstance(x, Batch):
        return x.select(index)
    return type(x)(x[i] for i in index.tolist())


def _join(found: list[Any], lengths: list[int], pad: bool) -> Any:
    first = next((x for x in found if x is not None), None)
    if first is None:
        return None
    if isinstance(first, Mapping):
        names = dict.fromkeys(k for x in found for k in x or {})
        joined = {k: _join([(x or {}).get(k) for x in found], lengths, pad) for k in names}
        return {k: v for k, v in joined.items() if v is not None}
    if not isinstance(first, Tensor | Batch):
        rows = [[None] * n if x is None else x for x, n in zip(found, lengths, strict=True)]
        return type(first)(row for part in rows for row in part)
    if any(x is None for x in found):
        return None
    if isinstance(first, Batch):
        return type(first).concat(found)
    return torch.cat(_filled_up(found) if pad else found)


def _filled_up(tensors: list[Tensor]) -> list[Tensor]:
    if all(a.shape[1] == b.shape[1] for a, b in pairwise(tensors)):
        return tensors
    steps = max(x.shape[1] for x in tensors)
    return [torch.cat([x, x.new_zeros(len(x), steps - x.shape[1], *x.shape[2:])], 1) for x in tensors]


def _each(x: Any, method: str, *arguments: Any) -> Any:
    if isinstance(x, Tensor | Batch):
        return getattr(x, method)(*arguments)
    return {k: _each(v, method, *arguments) for k, v in x.items()} if isinstance(x, Mapping) else x
