"""All rounds of a method as one run: their steps counted through, what it began and ended with."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.engine import Run, Training, on_main
from accord.engine.fit import Evaluation, Resume
from accord.engine.origin import compare, origin, weights_of
from accord.engine.processes import failing_together, group
from accord.engine.run import Recorder
from accord.errors import Interrupted, RunError


class Whole:
    """What is told of all rounds together, in memory and in the folder that holds theirs; kept up from round to round.

    Args:
        method: whose rounds they are. rows: of all of them.

    Raises:
        RunError: the folder holds a run, and this one doesn't go on with it, or was begun otherwise.
    """

    def __init__(self, method: Any, rows: Sequence[Any], training: Training, *, out: str | Path | None, resume: Resume,
                 info: Mapping[str, Any] | None) -> None:  # fmt: skip
        self.method, self.training = method, training
        self.about: dict[str, Any] = {**(info or {}), "algorithm": type(method).__name__, "rounds": method.rounds,
                                      "training": vars(training), "rows": len(rows)}  # fmt: skip
        with failing_together():
            self.record = Recorder(out, resume=bool(resume), main=on_main())
            self.run = self.record.run
            if self.run.folder is not None:
                began = origin(method, rows, training, training.count_steps(len(rows)), group().num_processes)
                if resume and (self.run.folder / "run.json").is_file():
                    began, changes = compare(self.run, began, "some round", anyway=resume == "anyway")
                    self.about |= {"changes": changes} if changes else {}
                self.about["began"] = began
            self.record.rewind(-1)
        self._describe("running")

    def counted(self, evaluate: Evaluation | None) -> Evaluation | None:
        """The evaluation hook of each round, which is told the steps of all."""
        return None if evaluate is None else lambda step: evaluate(step + len(self.run.metrics))

    def add(self, run: Run) -> None:
        """A round has ended."""
        before = len(self.run.metrics)
        for row in run.evaluations:
            if row["step"] or not before:  # where a round begins, the one before has ended
                self.record.evaluated({**row, "step": row["step"] + before})
        for row in run.metrics:
            self.record.log({**row, "step": row["step"] + before})
        self._describe("running")

    def __enter__(self) -> "Whole":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, Interrupted | KeyboardInterrupt)
        with contextlib.suppress(*([RunError] if kind else [])):  # what went wrong first is what matters
            self._describe("finished" if kind is None else "interrupted" if stopped else "failed")

    def _describe(self, status: str) -> None:
        done = len(self.run.metrics)
        steps = done if self.training.steps is None else self.training.steps * self.method.rounds
        ended = {"ended": weights_of(self.method.trainables)} if "began" in self.about and status != "running" else {}
        self.record.describe(**self.about, **ended, status=status, steps=steps)
