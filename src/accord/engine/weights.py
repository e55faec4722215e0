"""Weights that a run keeps beside the live ones: their running average, and those that an evaluation liked best."""

import torch
from torch import Tensor, nn

from accord.engine import checkpoint
from accord.errors import ConfigError


def live(models: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """All that trains, by name of model and weight."""
    return {f"{m}.{n}": p for m, model in models.items() for n, p in checkpoint.trained(model).items()}


class Average:
    """Exponential moving average of all trained weights; `swap` exchanges it with the live ones."""

    def __init__(self, models: dict[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.live = live(models)
        self.shadow = {k: p.detach().clone() for k, p in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        for key, p in self.live.items():
            self.shadow[key].lerp_(p, 1 - self.decay)

    @torch.no_grad()
    def swap(self) -> None:
        for key, p in self.live.items():
            kept = p.detach().clone()
            p.copy_(self.shadow[key])
            self.shadow[key] = kept

    def state(self) -> dict[str, Tensor]:
        return dict(self.shadow)

    def load(self, state: dict[str, Tensor]) -> None:
        self.shadow = {k: state[k].to(p.device) for k, p in self.live.items()}


class Best:
    """The weights at which one of the evaluation's measures was highest.

    Args:
        measure: its name; NaN is never best.
    """

    def __init__(self, models: dict[str, nn.Module], measure: str) -> None:
        self.live, self.measure = live(models), measure
        self.value = -float("inf")
        self.weights: dict[str, Tensor] = {}

    def beaten(self, measures: dict[str, float]) -> bool:
        """Whether these measures are better than any before.

        Raises:
            ConfigError: ours is not among them.
        """
        if self.measure not in measures:
            raise ConfigError(f"select={self.measure!r}, but the evaluation measured only {sorted(measures)}")
        if not measures[self.measure] > self.value:
            return False
        self.value = measures[self.measure]
        return True

    def keep(self) -> None:
        """Note the live weights."""
        self.weights = {k: p.detach().clone() for k, p in self.live.items()}

    @torch.no_grad()
    def put(self) -> None:
        """Make them the live ones, if any were noted."""
        for key, kept in self.weights.items():
            self.live[key].copy_(kept)

    def state(self) -> dict[str, Tensor]:
        return {"value": torch.tensor(self.value, dtype=torch.float64), **self.weights}

    def load(self, state: dict[str, Tensor]) -> None:
        self.value = float(state["value"])
        self.weights = {k: state[k].to(p.device) for k, p in self.live.items() if k in state}
