"""An optimiser step on the gradient of the mean over a minibatch of all processes."""

import contextlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from accord.engine import checkpoint, sharding
from accord.engine.algorithm import Loss, Mean, add
from accord.engine.dealing import Piece
from accord.engine.processes import gather, known
from accord.engine.run import disk, save_tensors, write_json
from accord.engine.training import Training
from accord.errors import ConfigError, NumericsError


class Update:
    """Takes the steps, one optimiser for each trainable.

    Args:
        updates: optimiser steps of the whole run, for the schedule.
        folder: where a batch goes that gave no finite number; None for a temporary one.
    """

    def __init__(self, algorithm: Any, options: Training, accelerator: Accelerator, updates: int, folder: Path | None) -> None:  # fmt: skip
        self.o, self.accelerator, self.updates, self.folder = options, accelerator, updates, folder
        self.models: dict[str, nn.Module] = algorithm.trainables
        plugin = sharding.asked_for() if accelerator.num_processes > 1 else None
        self.shards = plugin and sharding.Shards(algorithm, plugin, accelerator.device)
        made = [self._optimizer(name, model) for name, model in self.models.items()]
        both = (algorithm, *made) if self.shards else accelerator.prepare(algorithm, *made)
        self.wrapped, self.prepared = both[0], both[1:]

    def whole(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the algorithm has its whole weights, wherever they are kept. All processes must come here."""
        return self.shards.whole() if self.shards else contextlib.nullcontext()

    def close(self) -> None:
        """Leave the algorithm as it was given, but trained. All processes must come here."""
        if self.shards:
            self.shards.join()

    def __call__(self, experience: Any, pieces: Sequence[Piece], update: int) -> dict[str, Mean]:
        """Step number `update` of the run, on these pieces of an experience."""
        metrics, weight = self._backward(experience, pieces, update)
        # DDP and FSDP average over ranks; a mean over the global batch wants their sum over its whole weight.
        self._scale(self.accelerator.num_processes / weight if weight else 0.0)
        factor = self.o.lr_factor(update, self.updates)
        for (name, model), optimizer in zip(self.models.items(), self.prepared, strict=True):
            norm = self.accelerator.clip_grad_norm_(
                list(checkpoint.trained(model).values()), self.o.max_grad_norm or float("inf")
            )
            if not math.isfinite(size := float(sharding.whole(norm))):
                rows = [i for p in pieces for i in p.rows]
                raise known(self._failed(f"gradient of {name}", size, experience.select(rows), update))
            metrics["grad_norm" if len(self.models) == 1 else f"grad_norm/{name}"] = Mean(size, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = self.o.lr_of.get(name, self.o.lr) * factor
            optimizer.step()
            optimizer.zero_grad()
        return {**metrics, "lr": Mean(self.o.lr * factor, 1.0)}

    def check_weights(self, steps: int) -> None:
        """Raise NumericsError where a weight that trains is no number any more (a step may be too large for it, however sound
        its gradient)."""
        for name, model in self.models.items():
            sound = all(bool(sharding.here(p).isfinite().all()) for p in checkpoint.trained(model).values())
            if not all(gather(sound)):
                raise known(
                    NumericsError(f"weights of {name} became NaN or infinite by step {steps}: lower lr ({self.o.lr:g})")
                )

    def raw(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers themselves, by name, for checkpoints."""
        return dict(zip(self.models, (getattr(p, "optimizer", p) for p in self.prepared), strict=True))

    def _backward(self, experience: Any, pieces: Sequence[Piece], update: int) -> tuple[dict[str, Mean], float]:
        """The summed gradient of all pieces; metrics of this process, and the weight of the losses of all."""
        metrics: dict[str, Mean] = {}
        weight = total = 0.0
        failed: NumericsError | None = None
        for i, piece in enumerate(pieces):
            rows = experience.select(piece.rows)
            last = i + 1 == len(pieces)
            # Shares add up their gradients at once: whole ones would take the room that sharing saves.
            at_once = last or self.shards
            with contextlib.nullcontext() if at_once else self.accelerator.no_sync(self.wrapped):
                loss: Loss = self.wrapped(rows)
                value = float(loss.sum.detach())
                if not math.isfinite(value) and failed is None:
                    failed = self._failed("loss", value, rows, update)
                    if self.accelerator.num_processes == 1:
                        raise failed
                # With others about, one that failed goes on until all of them can hear of it.
                self.accelerator.backward(loss.sum if piece.counts else loss.sum * 0.0)
            if piece.counts:
                weight += loss.weight
                total += value
                add(metrics, loss.metrics)
        return {"loss": Mean(total, weight), **metrics}, sum(gather(weight, failed))

    def _scale(self, by: float) -> None:
        with torch.no_grad():
            for model in self.models.values():
                for p in checkpoint.trained(model).values():
                    if p.grad is not None:
                        p.grad.mul_(by)

    def _optimizer(self, name: str, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(list(checkpoint.trained(model).values()), lr=self.o.lr_of.get(name, self.o.lr), betas=(self.o.betas[0], self.o.betas[1]),
                                 weight_decay=self.o.weight_decay, fused=True)  # fmt: skip

    def _failed(self, what: str, value: float, rows: Any, update: int) -> NumericsError:
        """The error to raise; saves the rows that made it."""
        where = (self.folder or Path(tempfile.mkdtemp(prefix="accord-"))) / "failed-batch"
        if self.accelerator.num_processes > 1:
            where = where / f"process-{self.accelerator.process_index}"
        with disk(where):
            where.mkdir(parents=True, exist_ok=True)
        _save_batch(where, rows)
        step = update // (self.o.minibatches * self.o.inner_epochs) + 1
        return NumericsError(
            f"{what} became {value:g} in step {step}; the batch is saved in {where} "
            "(a lower lr or a look at its rewards usually mends it)"
        )


def check_models(models: Mapping[str, nn.Module], options: Training) -> None:
    """Raise ConfigError where nothing trains in one of them, or a learning rate is another's."""
    odd = sorted(options.lr_of.keys() - models.keys())
    if odd:
        raise ConfigError(f"lr_of names {odd[0]!r}, but what trains is {', '.join(models)}")
    for name, model in models.items():
        if not checkpoint.trained(model):
            raise ConfigError(f"nothing to train in {name}: every parameter is frozen")


def _save_batch(folder: Path, piece: Any) -> None:
    """What can be saved of a batch: its tensors, and the rest as text."""
    tensors = {k: v for k, v in vars(piece).items() if isinstance(v, Tensor)} if hasattr(piece, "__dict__") else {}
    if tensors:
        save_tensors(folder / "batch.safetensors", tensors)
    rest = list(piece) if isinstance(piece, list) else {k: str(v) for k, v in vars(piece).items() if k not in tensors}
    write_json(folder / "batch.json", rest)
