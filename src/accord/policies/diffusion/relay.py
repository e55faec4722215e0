"""Denoisers that take turns on the way from noise to picture (eDiff-I, arXiv 2211.01324; Wan 2.2)."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.errors import ConfigError

Guidance = float | tuple[float, ...]
"""A scale of guidance, or one for each of the denoisers that take turns."""


class Relay(nn.Module):
    """Two denoisers that answer as one: the first where the timestep is at least `boundary`, the second below.

    Where several processes train together, each denoiser is asked, if only for a row that counts for nothing: the others wait
    for its gradient.

    Args:
        parts: by their names in the pipeline, the one for much noise first.
    """

    def __init__(self, boundary: float, **parts: nn.Module) -> None:
        super().__init__()
        self.boundary = boundary
        for name, part in parts.items():
            self.add_module(name, part)

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = next(self.children()).dtype  # type: ignore[assignment]
        return found

    def turn(self, t: Float[Tensor, "n"]) -> Int[Tensor, "n"]:
        """Whose turn it is, for each row."""
        return (t < self.boundary).long()

    def forward(self, timestep: Float[Tensor, "n *tokens"], return_dict: bool = False, **told: Tensor) -> tuple[Tensor]:
        """As a denoiser is called, with rows in any order."""
        turn, given = self.turn(timestep.reshape(len(timestep), -1)[:, 0]), {"timestep": timestep, **told}
        places, said = [], []
        for k, part in enumerate(self.children()):
            rows = (turn == k).nonzero()[:, 0]
            if len(rows) or _together():
                asked = rows if len(rows) else rows.new_zeros(1)
                (answer,) = part(**{name: x[asked] for name, x in given.items()}, return_dict=False)
                places.append(rows)
                said.append(answer[: len(rows)])
        return (torch.cat(said)[torch.cat(places).argsort()],)


def strengths(
    guidance: Guidance, denoiser: Any, t: Float[Tensor, "n"], ndim: int
) -> tuple[float, float | Float[Tensor, "n *ones"]]:
    """The largest scale of guidance, and each row's for latents of so many dimensions (where all have one: that).

    Raises:
        ConfigError: there is not a denoiser for each number.
    """
    if not isinstance(guidance, tuple):
        return guidance, guidance
    if not isinstance(denoiser, Relay) or len(guidance) != 2:
        raise ConfigError(
            f"guidance={list(guidance)} wants two denoisers that take turns, and one number for each: give one number for all"
        )
    own = torch.tensor(guidance, device=t.device)[denoiser.turn(t)]
    return max(guidance), own.reshape(-1, *[1] * (ndim - 1))


def _together() -> Any:
    """Whether other processes wait for gradients."""
    return torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized()
