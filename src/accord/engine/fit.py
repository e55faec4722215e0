"""The loop: experience, minibatches, gradient, step; and all that must not be written twice."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator

from accord.engine import checkpoint
from accord.engine.algorithm import Algorithm, Mean, Rows, Step, add, check_rows
from accord.engine.dealing import batch, deal
from accord.engine.leaving import CtrlC, leave_group_at_exit
from accord.engine.memory import keep_freed_memory
from accord.engine.origin import compare, origin, weights_of
from accord.engine.processes import agree, alone, failing_together, gather, group, known, wait_for_all
from accord.engine.progress import Progress
from accord.engine.run import Recorder, Run
from accord.engine.seeds import generator, seed_everything, undisturbed
from accord.engine.sharding import asked_for
from accord.engine.training import Training
from accord.engine.update import Update, check_models
from accord.engine.weights import Average, Best
from accord.errors import ConfigError, Interrupted, RunError
from accord.feedback import rows_of

Evaluation = Callable[[int], Mapping[str, float]]
Resume = bool | Literal["anyway"]


def fit(algorithm: Algorithm, data: Sequence[Any] | str | Path, training: Training | Mapping[str, Any] | None = None, *,
        out: str | Path | None = None, resume: Resume = False, evaluate: Evaluation | None = None,
        info: dict[str, Any] | None = None, **options: Any) -> Run:  # fmt: skip
    """Train an algorithm on data.

    Args:
        algorithm: holds what trains; see `Algorithm`.
        data: records or prompts, one row each; or what `accord.feedback.rows_of` makes rows of, such as a file's path.
        training: options (or a dict of them), or give them by name (``steps=200, lr=1e-4``).
        out: folder for metrics and checkpoints; None keeps metrics in memory and writes nothing.
        resume: go on from the last checkpoint in `out` (from the start, if there is none), with what the run began with:
            "anyway" goes on whatever differs, and notes it in run.json.
        evaluate: called with the number of finished steps, returns named measures; not part of the gradient.
        info: anything to note in run.json.

    Raises:
        FeedbackError: data that the algorithm can't learn from.
        ConfigError: options out of their range, or that don't fit together.
        RunError: `out` holds another run, or is damaged.
        NumericsError: a loss or gradient is not finite; the batch is saved first.
        Interrupted: Ctrl-C; a checkpoint is saved first.
    """
    chosen = Training.of(training, options)
    if resume not in (True, False, "anyway"):
        raise ConfigError(f"resume={resume!r} is none of true, false and anyway")
    if isinstance(out, str) and not out.strip():
        raise ConfigError("out is empty: name a folder, or leave it out to keep everything in memory")
    if resume and out is None:
        raise ConfigError("resume needs the run's folder: give out=")
    if chosen.select is not None and evaluate is None:
        raise ConfigError(f"select={chosen.select!r} wants measures to choose by: give evaluate=")
    asked_for()
    check_models(algorithm.trainables, chosen)
    rows = rows_of(data)
    if not len(rows):
        raise ConfigError("there are no rows to train on: is the file empty, or did every record get skipped?")
    check_rows(algorithm, rows)
    keep_freed_memory()
    with undisturbed():
        return _Loop(algorithm, rows, chosen, out, resume, evaluate, info or {}).run()


class _Loop:
    def __init__(self, algorithm: Algorithm, data: Sequence[Any], options: Training, out: str | Path | None,
                 resume: Resume, evaluate: Evaluation | None, info: dict[str, Any]) -> None:  # fmt: skip
        self.algorithm, self.data, self.o, self.evaluate, self.info = algorithm, data, options, evaluate, info
        self.name = type(algorithm).__name__
        group()
        try:
            self.accelerator = Accelerator(log_with=list(options.trackers) or None, project_dir=out)
        except ValueError as error:
            raise ConfigError(f"trackers={list(options.trackers)}: {error}") from error
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        if self.ranks > 1:
            leave_group_at_exit()
        if options.batch_size % self.ranks:
            raise known(
                ConfigError(f"batch_size {options.batch_size} can't be shared evenly by {self.ranks} processes")
            )
        self.steps = options.count_steps(len(data))
        self._begin(out, resume)
        self.update = Update(algorithm, options, self.accelerator,
                             self.steps * options.inner_epochs * options.minibatches, self.folder)  # fmt: skip
        self.models = self.update.models
        self.average = Average(self.models, options.ema) if options.ema else None
        self.best = Best(self.models, options.select) if options.select else None
        self.done = self._restore(bool(resume))
        if options.trackers:
            self.accelerator.init_trackers("accord")

    def _begin(self, out: str | Path | None, resume: Resume) -> None:
        """Open the folder; every process must have the same before it, and the run the same as it began with."""
        with failing_together():
            self.record = Recorder(out, resume=bool(resume), main=self.accelerator.is_main_process)
            self.folder = self.record.run.folder
            self.origin: dict[str, Any] = {}
            self.changes: list[str] = []
            if self.folder is not None or self.ranks > 1:
                self.origin = origin(self.algorithm, self.data, self.o, self.steps, self.ranks)
            if resume and self.folder is not None and (found := checkpoint.latest(self.folder)):
                self.origin, self.changes = compare(self.record.run, self.origin, found.name, anyway=resume == "anyway")
        agree(data=self.origin.get("data"), weights=self.origin.get("model"), steps=self.steps, folder=out)

    def run(self) -> Run:
        self._describe("running")
        try:
            self._train()
        except Interrupted:
            self._end("interrupted")
            raise
        except BaseException as error:
            with contextlib.suppress(RunError):  # what went wrong first is what matters
                self._describe("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        self._end("finished")
        if self.o.trackers:
            self.accelerator.end_training()
        return self.record.run

    def _end(self, status: str) -> None:
        """Of all processes together: what the first one writes is there when any goes on."""
        self._describe(status)
        wait_for_all()

    def _train(self) -> None:
        show = self.o.progress and self.accelerator.is_main_process
        with CtrlC() as stop, Progress(self.steps, self.done, enabled=show) as bar:
            if self.done == 0:
                self._evaluate()
            stopped = False
            while self.done < self.steps and not stopped:
                started = time.perf_counter()
                metrics = self._step(self.done)
                self.done += 1
                with failing_together():
                    self._log({**metrics, "seconds": round(time.perf_counter() - started, 4)})
                bar.update(self.done, metrics)
                last = self.done == self.steps
                if last or (self.o.evaluate_every and self.done % self.o.evaluate_every == 0):
                    self.update.check_weights(self.done)
                    self._evaluate()
                stopped = any(gather(stop.asked))  # as one: it may have reached them in different steps
                if last or stopped or (self.o.checkpoint_every and self.done % self.o.checkpoint_every == 0):
                    self.update.check_weights(self.done)
                    self._save()
        cut = stopped and self.done < self.steps
        if self.average and not cut:
            self.average.swap()
        if self.best and not cut:
            self.best.put()
        self.update.close()
        if cut:
            where = f"; checkpoint in {self.folder}, go on with --resume" if self.folder else ""
            raise Interrupted(f"stopped after step {self.done} of {self.steps}{where}")

    def _step(self, number: int) -> dict[str, float]:
        o = self.o
        # Dropout and the like draw from the global generators; so these too are a function of (seed, step, rank).
        seed_everything(o.seed, number, self.rank, purpose="global")
        step = Step(number, o.seed, self.rank, self.ranks, gather)
        mine = batch(len(self.data), o.batch_size, number, o.seed, self.rank, self.ranks)
        with self.update.whole(), failing_together(), torch.no_grad():
            experience = self.algorithm.experience(Rows(self.data[i] for i in mine), step)
        sizes = gather(len(experience))
        if 0 in sizes:
            raise known(ConfigError(f"step {number + 1} found nothing to learn from: its experience has no rows"))
        metrics = dict(step.metrics)
        update = number * o.inner_epochs * o.minibatches
        for epoch in range(o.inner_epochs):
            shuffle = generator(o.seed, number, epoch, purpose="minibatch")
            for pieces in deal(sizes, self.rank, o.minibatches, o.micro_batch_size, shuffle):
                add(metrics, self.update(experience, pieces, update))
                if self.average:
                    self.average.update()
                update += 1
        total: dict[str, Mean] = {}
        for part in gather(metrics):
            add(total, part)
        return {name: mean.value for name, mean in total.items()}

    def _log(self, metrics: dict[str, float]) -> None:
        self.record.log({"step": self.done, **metrics})
        if self.o.trackers:
            self.accelerator.log({k: v for k, v in metrics.items() if k != "seconds"}, step=self.done)

    def _evaluate(self) -> None:
        if self.evaluate is None:
            return
        seed_everything(self.o.seed, self.done, purpose="evaluation")
        with self.average.in_use() if self.average else contextlib.nullcontext():
            with self.update.whole(), failing_together():
                mine = self._measure(self.evaluate) if self.accelerator.is_main_process else {}
            measures = gather(mine)[0]
            with failing_together():
                self.record.evaluated({"step": self.done, **measures})
            better = self.best is not None and self.best.beaten(measures)
            if better and self.best:
                self.best.keep()
        if better:
            self._save(best=True)

    def _measure(self, evaluate: Evaluation) -> dict[str, float]:
        if self.ranks == 1:
            return numbers(evaluate(self.done))
        # What the other processes don't see must not stay behind (a reward's running statistics).
        before = {k: v.clone() for k, v in self.algorithm.state().items()}
        with alone():
            found = numbers(evaluate(self.done))
        self.algorithm.load_state(before)
        return found

    def _save(self, *, best: bool = False) -> None:
        if self.folder is None:
            return
        extra = {"algorithm": self.algorithm.state(), "ema": self.average.state() if self.average else {}}
        if self.best:
            extra["best"] = self.best.state()
        files = checkpoint.files(self.models, self.update.raw(), extra)
        if self.accelerator.is_main_process:
            with failing_together():
                checkpoint.save(self.folder, self.done, files, keep=self.o.keep, best=best)

    def _restore(self, resume: bool) -> int:
        """Put the last checkpoint back, if there is one to go on from; the steps that are done."""
        step = 0
        with failing_together():
            path = checkpoint.latest(self.folder) if resume and self.folder else None
            if path is not None:
                step = self._load(path)
            self.record.rewind(step if path is not None else -1)
        agree(finished_steps=step)
        return step

    def _load(self, path: Path) -> int:
        if (step := checkpoint.check(path)) > self.steps:
            raise RunError(
                f"{path} is after step {step}, but the run now ends at {self.steps}: raise steps or start anew"
            )
        extra = checkpoint.load(path, self.models, self.update.raw())
        try:
            self.algorithm.load_state(extra.get("algorithm", {}))
            if self.average:
                self.average.load(extra["ema"] if "ema" in extra else Average(self.models, 0.5).state())
            if self.best and "best" in extra:
                self.best.load(extra["best"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise RunError(f"{path} keeps the state of another algorithm ({error}): start anew") from error
        return step

    def _describe(self, status: str) -> None:
        o = self.o
        about = {**self.info, "algorithm": self.name, "training": vars(o), "rows": len(self.data)}
        if self.folder is not None:
            ended = {} if status == "running" else {"ended": weights_of(self.models)}
            about |= {"began": self.origin, **ended} | ({"changes": self.changes} if self.changes else {})
        with failing_together():
            self.record.describe(**about, status=status, steps=self.steps)


def numbers(measures: Any) -> dict[str, float]:
    """What an evaluation returned, as it can be written down."""
    if not isinstance(measures, Mapping):
        raise ConfigError(f"evaluate must return a number for each name, not a {type(measures).__name__}")
    found = {k: v.item() if hasattr(v, "item") and getattr(v, "ndim", 0) == 0 else v for k, v in measures.items()}
    for name, value in found.items():
        if not isinstance(value, int | float | str | None):
            raise ConfigError(f"evaluate must return a number for each name, but {name} is a {type(value).__name__}")
    return found
