"""The options of a run, checked before anything is loaded."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from accord.elsewhere import filled
from accord.errors import ConfigError

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        steps: experiences to gather; None counts them from `epochs`.
        epochs: passes over the data, where `steps` is not given; above 0.
        batch_size: rows (pairs, prompts) of one experience, over all processes.
        minibatches: optimiser steps an experience is cut into.
        inner_epochs: passes over one experience.
        micro_batch_size: rows in one forward pass, None for the whole minibatch; never changes the gradient.
        lr: peak learning rate; `lr_of` sets another for a named trainable (a critic).
        schedule: shape after the warm-up, whose length is `warmup` (share of all optimiser steps, in [0, 1)).
        weight_decay: at least 0. betas: of AdamW's averages, each in [0, 1).
        max_grad_norm: clip the norm of each trainable's gradient; 0 switches it off.
        ema: decay in (0, 1) of a running average of the weights, which evaluation and the finished run then use.
        checkpoint_every: steps between checkpoints, 0 for one at the end. keep: how many stay on disk.
        evaluate_every: steps between evaluations, 0 for first and last only.
        select: name of the evaluation's measure by which the best weights are chosen: the run ends with them, and their
            checkpoint is kept beside the last ones.
        trackers: names accelerate knows (tensorboard, wandb, …); metrics.jsonl is always written.

    Raises:
        ConfigError: an option is of the wrong kind or out of its range.
    """

    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 8
    minibatches: int = 1
    inner_epochs: int = 1
    micro_batch_size: int | None = None
    lr: float = 1e-5
    lr_of: dict[str, float] = field(default_factory=dict)
    schedule: Schedule = "constant"
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
            _whole(name, getattr(self, name), least=1)
        for name in ("steps", "micro_batch_size"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least=1)
        for name in ("checkpoint_every", "evaluate_every"):
            _whole(name, getattr(self, name), least=0)
        _whole("seed", self.seed)
        for name in ("epochs", "lr"):
            _number(name, getattr(self, name), "above 0", lambda x: x > 0)
        for name in ("weight_decay", "max_grad_norm"):
            _number(name, getattr(self, name), "at least 0", lambda x: x >= 0)
        _number("warmup", self.warmup, "in [0, 1)", lambda x: 0 <= x < 1)
        if self.ema is not None:
            _number("ema", self.ema, "a decay between 0 and 1", lambda x: 0 < x < 1)
        self._check_collections()
        if self.minibatches > self.batch_size:
            raise ConfigError(f"{self.minibatches} minibatches can't be cut from a batch of {self.batch_size}")

    def _check_collections(self) -> None:
        _kind("lr_of", self.lr_of, dict, "a learning rate for each named trainable")
        for name, lr in self.lr_of.items():
            _number(f"lr_of[{name!r}]", lr, "at least 0", lambda x: x >= 0)
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise ConfigError(f"betas must be two numbers, but is {self.betas!r}")
        for beta in self.betas:
            _number("each of betas", beta, "in [0, 1)", lambda x: 0 <= x < 1)
        if self.schedule not in get_args(Schedule):
            raise ConfigError(f"schedule={self.schedule!r} is not one of {', '.join(get_args(Schedule))}")
        if self.select is not None:
            _kind("select", self.select, str, "the name of a measure")
        _kind("trackers", self.trackers, list | tuple, "a list of names")
        for name in self.trackers:
            _kind("each of trackers", name, str, "a name")
        _kind("progress", self.progress, bool, "true or false")

    @classmethod
    def of(cls, given: Any, options: dict[str, Any]) -> "Training":
        """Options as they reach `fit`: whole, as a dict, or by name."""
        if given is not None and options:
            raise ConfigError("give either a Training or single options to fit(), not both")
        return filled(cls(), given if given is not None else options, "fit()")

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


def _whole(name: str, value: Any, least: float = -math.inf) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number, but is {value!r}")
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, but is {value}")
    if int(value) >= 2**63:
        raise ConfigError(f"{name} must be below 2^63, but is {str(value)[:40]}")


def _number(name: str, value: Any, wanted: str, within: Any) -> None:
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not (_finite(value) and within(value)):
        raise ConfigError(f"{name} must be a number {wanted}, but is {repr(value)[:40]}")


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _kind(name: str, value: Any, kind: Any, wanted: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be {wanted}, but is {value!r}")
