"""What a reward says of N samples."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord.engine.batch import Batch, Padded


class Span(NamedTuple):
    """Value of a piece of a text: of its characters from `start` up to `stop`, whatever its tokens are."""

    start: int
    stop: int
    value: float


@dataclass(frozen=True)
class Scores(Batch):
    """Values of N samples, and whatever else the reward knows of them.

    Attributes:
        values: one number a sample; keeps its graph where the reward is differentiable.
        valid: False where the reward does not apply (the value there is 0 and means nothing).
        aspects: further named values, N each.
        std: the reward's own uncertainty.
        members: what each member of an ensemble said.
        answer: the answer extracted from each sample, where the reward looks for one.
        text: what a judge wrote of each sample. parsed: whether its verdict could be read off that.
        spans: values of pieces of each text. steps: of each step of an episode. regions: of each place of a picture.
        parts: all that each of several combined rewards said, by name.
    """

    values: Float[Tensor, "n"]
    valid: Bool[Tensor, "n"]
    aspects: dict[str, Float[Tensor, "n"]] = field(default_factory=dict)
    std: Float[Tensor, "n"] | None = None
    members: Float[Tensor, "n m"] | None = None
    answer: list[Any] | None = None
    text: list[str | None] | None = None
    parsed: Bool[Tensor, "n"] | None = None
    spans: list[list[Span]] | None = None
    steps: Padded[Float[Tensor, "n t"] | None] = None
    regions: Float[Tensor, "n h w"] | None = None
    parts: dict[str, "Scores"] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Float[Tensor, "n"], **more: Any) -> "Scores":
        """Scores that all apply."""
        return cls(values, torch.ones(len(values), dtype=torch.bool, device=values.device), **more)

    def with_values(self, values: Float[Tensor, "n"], **aspects: Float[Tensor, "n"]) -> "Scores":
        """The same samples with other values; what they were can be kept as an aspect."""
        return replace(self, values=values.masked_fill(~self.valid, 0.0), aspects={**self.aspects, **aspects})
