"""The loop: experience, minibatches, gradient, step; and all that must not be written twice."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from accord.engine import checkpoint
from accord.engine.algorithm import Algorithm, Loss, Mean, Rows, Step
from accord.engine.leaving import CtrlC, leave_group_at_exit
from accord.engine.memory import keep_freed_memory
from accord.engine.progress import Progress
from accord.engine.run import Recorder, Run, save_tensors, write_json
from accord.engine.seeds import derive, generator
from accord.engine.training import Training
from accord.engine.weights import Average, Best
from accord.errors import ConfigError, Interrupted, NumericsError, RunError

Evaluation = Callable[[int], dict[str, float]]


def fit(algorithm: Algorithm, data: Sequence[Any], training: Training | None = None, *, out: str | Path | None = None,
        resume: bool = False, evaluate: Evaluation | None = None, info: dict[str, Any] | None = None,
        **options: Any) -> Run:  # fmt: skip
    """Train an algorithm on data.

    Args:
        algorithm: holds what trains; see `Algorithm`.
        data: records or prompts, one row each.
        training: options, or give them by name (``steps=200, lr=1e-4``).
        out: folder for metrics and checkpoints; None keeps metrics in memory and writes nothing.
        resume: go on from the last checkpoint in `out` (from the start, if there is none).
        evaluate: called with the number of finished steps, returns named measures; not part of the gradient.
        info: anything to note in run.json.

    Raises:
        NumericsError: a loss or gradient is not finite; the batch is saved first.
        Interrupted: Ctrl-C; a checkpoint is saved first.
    """
    if training is not None and options:
        raise ConfigError("give either a Training or single options to fit(), not both")
    keep_freed_memory()
    return _Loop(algorithm, data, training or Training(**options), out, resume, evaluate, info or {}).run()


class _Loop:
    def __init__(self, algorithm: Algorithm, data: Sequence[Any], options: Training, out: str | Path | None,
                 resume: bool, evaluate: Evaluation | None, info: dict[str, Any]) -> None:  # fmt: skip
        if not len(data):
            raise ConfigError("there are no rows to train on: is the file empty, or did every record get skipped?")
        self.algorithm, self.data, self.o, self.evaluate = algorithm, data, options, evaluate
        try:
            self.accelerator = Accelerator(log_with=list(options.trackers) or None, project_dir=out)
        except ValueError as error:
            raise ConfigError(f"trackers={list(options.trackers)}: {error}") from error
        ranks = self.accelerator.num_processes
        if ranks > 1:
            leave_group_at_exit()
        if options.batch_size % ranks:
            raise ConfigError(f"batch_size {options.batch_size} can't be shared evenly by {ranks} processes")
        if resume and out is None:
            raise ConfigError("resume needs the run's folder: give out=")
        self.steps = options.count_steps(len(data))
        self.updates = self.steps * options.inner_epochs * options.minibatches
        self.models = algorithm.trainables
        self.optimizers = {name: self._optimizer(name, model) for name, model in self.models.items()}
        wrapped = self.accelerator.prepare(algorithm, *self.optimizers.values())
        self.wrapped, self.prepared = wrapped[0], wrapped[1:]
        self.average = Average(self.models, options.ema) if options.ema else None
        self.best = Best(self.models, options.select) if options.select else None
        self.record = Recorder(out, resume=resume, main=self.accelerator.is_main_process)
        self.folder = self.record.run.folder
        self.done = self._restore() if resume else 0
        self.info = info
        if options.trackers:
            self.accelerator.init_trackers("accord")

    def run(self) -> Run:
        describe = {
            **self.info,
            "algorithm": type(self.algorithm).__name__,
            "training": vars(self.o),
            "rows": len(self.data),
        }
        self.record.describe(**describe, status="running", steps=self.steps)
        show = self.o.progress and self.accelerator.is_main_process
        with CtrlC() as stop, Progress(self.steps, self.done, enabled=show) as bar:
            if self.done == 0:
                self._evaluate()
            while self.done < self.steps:
                started = time.perf_counter()
                metrics = self._step(self.done)
                self.done += 1
                row = {"step": self.done, **metrics, "seconds": round(time.perf_counter() - started, 4)}
                self.record.log(row)
                if self.o.trackers:
                    self.accelerator.log(metrics, step=self.done)
                bar.update(self.done, metrics)
                last = self.done == self.steps
                if last or (self.o.evaluate_every and self.done % self.o.evaluate_every == 0):
                    self._evaluate()
                if last or stop.asked or (self.o.checkpoint_every and self.done % self.o.checkpoint_every == 0):
                    self._save()
                if stop.asked and not last:
                    self.record.describe(**describe, status="interrupted", steps=self.steps)
                    where = f"; checkpoint in {self.folder}, go on with --resume" if self.folder else ""
                    raise Interrupted(f"stopped after step {self.done} of {self.steps}{where}")
        if self.average:
            self.average.swap()
        if self.best:
            self.best.put()
        self.record.describe(**describe, status="finished", steps=self.steps)
        if self.o.trackers:
            self.accelerator.end_training()
        return self.record.run

    def _step(self, number: int) -> dict[str, float]:
        o, acc = self.o, self.accelerator
        # Dropout and the like draw from the global generator; so it too is a function of (seed, step, rank).
        torch.manual_seed(derive(o.seed, number, acc.process_index, purpose="global"))
        step = Step(number, o.seed, acc.process_index, acc.num_processes, self._gather)
        with torch.no_grad():
            experience = self.algorithm.experience(Rows(self._batch(number)), step)
        metrics = dict(step.metrics)
        update = number * o.inner_epochs * o.minibatches
        for epoch in range(o.inner_epochs):
            for rows in self._cut(len(experience), number, epoch):
                for name, mean in self._update(experience, rows, update).items():
                    metrics[name] = metrics[name] + mean if name in metrics else mean
                update += 1
        total: dict[str, Mean] = {}
        for part in self._gather(metrics):
            for name, mean in part.items():
                total[name] = total[name] + mean if name in total else mean
        return {name: mean.value for name, mean in total.items()}

    def _batch(self, number: int) -> Iterator[Any]:
        """This rank's rows of a step's global batch: an endless stream, shuffled anew in each pass."""
        o, n = self.o, len(self.data)
        order: dict[int, list[int]] = {}
        for i in range(number * o.batch_size, (number + 1) * o.batch_size)[
            self.accelerator.process_index :: self.accelerator.num_processes
        ]:
            epoch = i // n
            if epoch not in order:
                order[epoch] = torch.randperm(n, generator=generator(o.seed, epoch, purpose="order")).tolist()
            yield self.data[order[epoch][i % n]]

    def _cut(self, rows: int, number: int, epoch: int) -> list[list[int]]:
        """Rows of an experience dealt out to minibatches; shuffled only where there are several."""
        o, parts = self.o, min(self.o.minibatches, rows)
        if parts <= 1:
            return [list(range(rows))]
        order = torch.randperm(rows, generator=generator(o.seed, number, epoch, purpose="minibatch")).tolist()
        return [sorted(order[i::parts]) for i in range(parts)]

    def _update(self, experience: Any, rows: list[int], update: int) -> dict[str, Mean]:
        """One optimiser step on the gradient of the mean over this minibatch of all ranks."""
        size = self.o.micro_batch_size or len(rows)
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        metrics: dict[str, Mean] = {}
        weight = total = 0.0
        for i, part in enumerate(parts):
            piece = experience.select(part)
            sync = contextlib.nullcontext() if i + 1 == len(parts) else self.accelerator.no_sync(self.wrapped)
            with sync:
                loss: Loss = self.wrapped(piece)
                self._check(loss.sum, "loss", piece)
                self.accelerator.backward(loss.sum)
            weight += loss.weight
            total += float(loss.sum.detach())
            for name, mean in loss.metrics.items():
                metrics[name] = metrics[name] + mean if name in metrics else mean
        ranks = self.accelerator.num_processes
        everywhere = sum(self._gather(weight))
        # DDP averages over ranks; a mean over the global batch wants their sum over its whole weight.
        self._scale(ranks / everywhere if everywhere else 0.0)
        factor = self.o.lr_factor(update, self.updates)
        for (name, model), optimizer in zip(self.models.items(), self.prepared, strict=True):
            norm = self.accelerator.clip_grad_norm_(
                list(checkpoint.trained(model).values()), self.o.max_grad_norm or float("inf")
            )
            self._check(norm, f"gradient of {name}", experience.select(rows))
            metrics["grad_norm" if len(self.models) == 1 else f"grad_norm/{name}"] = Mean(float(norm), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = self.o.lr_of.get(name, self.o.lr) * factor
            optimizer.step()
            optimizer.zero_grad()
        if self.average:
            self.average.update()
        return {"loss": Mean(total, weight), **metrics, "lr": Mean(self.o.lr * factor, 1.0)}

    def _scale(self, by: float) -> None:
        with torch.no_grad():
            for model in self.models.values():
                for p in checkpoint.trained(model).values():
                    if p.grad is not None:
                        p.grad.mul_(by)

    def _optimizer(self, name: str, model: nn.Module) -> torch.optim.Optimizer:
        parameters = list(checkpoint.trained(model).values())
        if not parameters:
            raise ConfigError(f"nothing to train in {name}: every parameter is frozen")
        return torch.optim.AdamW(parameters, lr=self.o.lr_of.get(name, self.o.lr), betas=self.o.betas,
                                 weight_decay=self.o.weight_decay, fused=True)  # fmt: skip

    def _gather(self, value: Any) -> list[Any]:
        return gather_object([value]) if self.accelerator.num_processes > 1 else [value]

    def _check(self, value: Tensor, what: str, piece: Any) -> None:
        if bool(torch.isfinite(value).all()):
            return
        where = (self.folder or Path(tempfile.mkdtemp(prefix="accord-"))) / "failed-batch"
        where.mkdir(parents=True, exist_ok=True)
        _save_batch(where, piece)
        raise NumericsError(
            f"{what} became {float(value.detach()):g} in step {self.done + 1}; the batch is saved in {where} "
            "(a lower lr or a look at its rewards usually mends it)"
        )

    def _evaluate(self) -> None:
        if self.evaluate is None:
            return
        if self.average:
            self.average.swap()
        main = self.accelerator.is_main_process
        measures = self.evaluate(self.done) if main else {}
        if main:
            self.record.evaluated({"step": self.done, **measures})
        better = self.best is not None and self._gather(main and self.best.beaten(measures))[0]
        if better and self.best:
            self.best.keep()
        if self.average:
            self.average.swap()
        if better:
            self._save(best=True)

    def _save(self, *, best: bool = False) -> None:
        if self.folder is not None and self.accelerator.is_main_process:
            extra = {"algorithm": self.algorithm.state(), "ema": self.average.state() if self.average else {}}
            if self.best:
                extra["best"] = self.best.state()
            raw = dict(zip(self.models, (getattr(p, "optimizer", p) for p in self.prepared), strict=True))
            checkpoint.save(self.folder, self.done, self.models, raw, extra, keep=self.o.keep, best=best)

    def _restore(self) -> int:
        path = checkpoint.latest(self.folder) if self.folder else None
        if path is None:
            self.record.rewind(-1)
            return 0
        raw = dict(zip(self.models, (getattr(p, "optimizer", p) for p in self.prepared), strict=True))
        step, extra = checkpoint.load(path, self.models, raw)
        if step > self.steps:
            raise RunError(
                f"{path} is after step {step}, but the run now ends at {self.steps}: raise steps or start anew"
            )
        self.algorithm.load_state(extra.get("algorithm", {}))
        if self.average:
            self.average.load(extra["ema"])
        if self.best and "best" in extra:
            self.best.load(extra["best"])
        self.record.rewind(step)
        return step


def _save_batch(folder: Path, piece: Any) -> None:
    """What can be saved of a batch: its tensors, and the rest as text."""
    tensors = {k: v for k, v in vars(piece).items() if isinstance(v, Tensor)} if hasattr(piece, "__dict__") else {}
    if tensors:
        save_tensors(folder / "batch.safetensors", tensors)
    rest = list(piece) if isinstance(piece, list) else {k: str(v) for k, v in vars(piece).items() if k not in tensors}
    write_json(folder / "batch.json", rest)
