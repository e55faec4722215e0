"""What a prompt becomes for a denoiser."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from accord.engine.batch import Batch, Padded


@dataclass(frozen=True)
class Condition(Batch):
    """Tensors for the denoiser by the names that its family gives them, one row a prompt, its words along the second dimension.

    Attributes:
        vectors: of the prompts' pictures, for an image adapter.
    """

    tensors: Padded[dict[str, Tensor]]
    vectors: Float[Tensor, "n d"] | None = None

    def rows(self) -> "list[Condition]":
        """Each prompt's own."""
        return [self.select([i]) for i in range(len(self))]
