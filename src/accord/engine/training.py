"""The options of a run, checked before anything is loaded."""

import math
from dataclasses import dataclass, field
from typing import Literal

from accord.errors import ConfigError


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        steps: experiences to gather; None counts them from `epochs`.
        epochs: passes over the data, where `steps` is not given.
        batch_size: rows (pairs, prompts) of one experience, over all processes.
        minibatches: optimiser steps an experience is cut into.
        inner_epochs: passes over one experience.
        micro_batch_size: rows in one forward pass, None for the whole minibatch; never changes the gradient.
        lr: peak learning rate; `lr_of` sets another for a named trainable (a critic).
        schedule: shape after the warm-up, whose length is `warmup` (share of all optimiser steps, in [0, 1)).
        max_grad_norm: clip the norm of each trainable's gradient; 0 switches it off.
        ema: decay in (0, 1) of a running average of the weights, which evaluation and the finished run then use.
        checkpoint_every: steps between checkpoints, 0 for one at the end. keep: how many stay on disk.
        evaluate_every: steps between evaluations, 0 for first and last only.
        select: name of the evaluation's measure by which the best weights are chosen: the run ends with them, and their
            checkpoint is kept beside the last ones.
        trackers: names accelerate knows (tensorboard, wandb, …); metrics.jsonl is always written.
    """

    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 8
    minibatches: int = 1
    inner_epochs: int = 1
    micro_batch_size: int | None = None
    lr: float = 1e-5
    lr_of: dict[str, float] = field(default_factory=dict)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    ema: float | None = None
    seed: int = 0
    checkpoint_every: int = 0
    keep: int = 1
    evaluate_every: int = 0
    select: str | None = None
    trackers: tuple[str, ...] = ()
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "minibatches", "inner_epochs", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps must be at least 1, but is {self.steps}")
        if self.micro_batch_size is not None and self.micro_batch_size < 1:
            raise ConfigError(f"micro_batch_size must be at least 1, but is {self.micro_batch_size}")
        if self.lr <= 0 or not 0 <= self.warmup < 1:
            raise ConfigError(f"lr must be above 0 and warmup in [0, 1), but they are {self.lr} and {self.warmup}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"ema is a decay between 0 and 1, but is {self.ema}")
        if self.minibatches > self.batch_size:
            raise ConfigError(f"{self.minibatches} minibatches can't be cut from a batch of {self.batch_size}")

    def count_steps(self, rows: int) -> int:
        """Experiences in the run over this many rows."""
        return self.steps if self.steps is not None else max(1, round(self.epochs * rows / self.batch_size))

    def lr_factor(self, update: int, updates: int) -> float:
        """Share of the peak learning rate at this optimiser step (counted from 0)."""
        warm = round(self.warmup * updates)
        if update < warm:
            return (update + 1) / warm
        left = 1 - (update - warm) / max(1, updates - warm)
        if self.schedule == "linear":
            return left
        return 0.5 * (1 - math.cos(math.pi * left)) if self.schedule == "cosine" else 1.0
