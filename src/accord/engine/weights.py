"""Weights that a run keeps beside the live ones: their running average, and those that an evaluation liked best."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from accord.engine import checkpoint
from accord.engine.run import load_tensors
from accord.engine.sharding import share_of
from accord.errors import ConfigError


def live(models: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """All that trains, by name of model and weight."""
    return {f"{m}.{n}": p for m, model in models.items() for n, p in checkpoint.trained(model).items()}


def put_final(path: Path, models: dict[str, nn.Module]) -> None:
    """Give models the weights with which a run ended, from its last checkpoint: the best, else the average, else the live ones.

    Raises:
        RunError: a file is damaged, or another model's.
    """
    checkpoint.check(path)
    for name, model in models.items():
        checkpoint.load_weights(path / f"{name}.safetensors", model)
    kept: dict[str, Tensor] = {}
    for file in (path / f"{kind}.extra.safetensors" for kind in ("ema", "best")):
        kept |= load_tensors(file) if file.is_file() else {}
    with torch.no_grad():
        for key, p in live(models).items():
            if key in kept:
                p.copy_(kept[key])


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

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """The averages are the live weights inside."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> dict[str, Tensor]:
        return dict(self.shadow)

    def load(self, state: dict[str, Tensor]) -> None:
        self.shadow = {k: share_of(state[k], p) for k, p in self.live.items()}


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
        self.weights = {k: share_of(state[k], p) for k, p in self.live.items() if k in state}
