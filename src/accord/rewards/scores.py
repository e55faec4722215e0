"""What a reward says of N samples."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Values of N samples, and whatever else the reward knows of them.

    Attributes:
        values: one number a sample; keeps its graph where the reward is differentiable.
        valid: False where the reward does not apply (the value there is 0 and means nothing).
        aspects: further named values, N each.
        std: the reward's own uncertainty.
        members: what each member of an ensemble said.
        answer: the answer extracted from each sample, where the reward looks for one.
    """

    values: Float[Tensor, "n"]
    valid: Bool[Tensor, "n"]
    aspects: dict[str, Float[Tensor, "n"]] = field(default_factory=dict)
    std: Float[Tensor, "n"] | None = None
    members: Float[Tensor, "n m"] | None = None
    answer: list[Any] | None = None

    @classmethod
    def of(cls, values: Float[Tensor, "n"], **more: Any) -> "Scores":
        """Scores that all apply."""
        return cls(values, torch.ones(len(values), dtype=torch.bool, device=values.device), **more)

    def __len__(self) -> int:
        return len(self.values)

    def with_values(self, values: Float[Tensor, "n"], **aspects: Float[Tensor, "n"]) -> "Scores":
        """The same samples with other values; what they were can be kept as an aspect."""
        return replace(self, values=values.masked_fill(~self.valid, 0.0), aspects={**self.aspects, **aspects})

    def to(self, device: torch.device) -> "Scores":
        """The same numbers there, values in float32."""
        moved = {n: None if (x := getattr(self, n)) is None else x.to(device) for n in ("valid", "std", "members")}
        aspects = {n: x.to(device) for n, x in self.aspects.items()}
        return replace(self, values=self.values.to(device, torch.float32), aspects=aspects, **moved)  # type: ignore[arg-type]

    @classmethod
    def concat(cls, parts: "list[Scores]") -> "Scores":
        """Scores of consecutive samples as one."""

        def cat(name: str) -> Any:
            found = [getattr(p, name) for p in parts]
            if any(f is None for f in found):
                return None
            return [x for f in found for x in f] if isinstance(found[0], list) else torch.cat(found)

        return cls(
            cat("values"), cat("valid"), {k: torch.cat([p.aspects[k] for p in parts]) for k in parts[0].aspects},
            cat("std"), cat("members"), cat("answer"),
        )  # fmt: skip
