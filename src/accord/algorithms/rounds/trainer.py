"""Rounds: build feedback with the policies there are by now, fit, repeat."""

import contextlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from accord.algorithms.base import PolicyAlgorithm
from accord.algorithms.rounds.whole import Whole
from accord.engine import Algorithm, Rows, Run, Step, Training, check_rows, derive, fit, on_main, wait_for_all
from accord.engine.checkpoint import latest
from accord.engine.fit import Evaluation, Resume
from accord.engine.origin import differences, options_of
from accord.engine.run import write_text
from accord.engine.weights import put_final
from accord.errors import ConfigError, FeedbackError, RunError, wanted
from accord.feedback import Record, rows_of
from accord.feedback.records import AnyRecord
from accord.policies.capabilities import Freezes


@dataclass(frozen=True)
class Round:
    """What a round may build its feedback from.

    Attributes:
        number: counted from 0. seed: of this round.
        policy: as the last round left it.
        snapshots: the policy frozen before each round so far; the first is the start, the last is now.
        training: how the round will be trained. earlier: what each round before learned from.
    """

    number: int
    seed: int
    policy: Freezes
    snapshots: tuple[Any, ...]
    training: Training = Training()
    earlier: tuple[Sequence[Any], ...] = ()


Build = Callable[[Round], tuple[Algorithm, Sequence[Any]]]


class RoundMethod(PolicyAlgorithm):
    """A method of rounds: of its policy as it is, and of a part of the data, it makes what the next round learns, and from what.

    It is made, checked and told as other algorithms are, but learns by its own `fit`.
    """

    rows = (Record, str, list)

    def __init__(self, policy: Freezes, rounds: int) -> None:
        super().__init__(policy)
        wanted(rounds >= 1, f"{type(self).__name__} wants rounds >= 1", rounds)
        self.rounds = rounds

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Any]]:
        """What learns in this round, and from which rows."""
        raise NotImplementedError

    def fit(self, rows: Any, training: Training | Mapping[str, Any] | None = None, *, out: str | Path | None = None, resume: Resume = False,
            evaluate: Evaluation | None = None, info: Mapping[str, Any] | None = None, **options: Any) -> Run:  # fmt: skip
        """Run all rounds, each on a part of the rows that is its own; arguments as for `accord.fit`, options of every round.

        Returns:
            All rounds as one run, whose steps are counted through; `out` has a folder for each beside it (see `rounds`).

        Raises:
            FeedbackError: there are fewer rows than rounds, or some that the method can't take.
            RunError: `out` holds another run, or was begun otherwise.
        """
        chosen = Training.of(training, options)
        given = rows_of(rows)
        if len(given) < self.rounds:
            raise FeedbackError(f"{self.rounds} rounds want as many records at least, but there are {len(given)}")
        check_rows(self, given)
        with Whole(self, given, chosen, out=out, resume=resume, info=info) as whole:
            rounds(self.rounds, self.policy, lambda now: self.build(now, given[now.number :: self.rounds]), chosen, out=out,
                   resume=resume, evaluate=whole.counted(evaluate), after=whole.add)  # fmt: skip
        return whole.run

    def experience(self, batch: Rows, step: Step) -> Any:
        """Refused: there is none of a single step."""
        name = type(self).__name__
        raise ConfigError(f"{name} learns in rounds: call {name}(…).fit(data, …) in place of accord.fit")


def rounds(count: int, policy: Freezes, build: Build, training: Training, *, out: str | Path | None = None,
           resume: Resume = False, evaluate: Evaluation | None = None, after: Callable[[Run], None] = lambda run: None) -> list[Run]:  # fmt: skip
    """Run `count` rounds; each calls ``build(round)`` for an algorithm on `policy` and its data, and fits it.

    Args:
        training: options of every round; round r trains with its own derived seed.
        out: folder that gets one run a round (round-0, round-1, …).
        resume: finished rounds are loaded instead of run again, a broken one goes on; "anyway" even with other options or
            if what `build` makes is not the same again (see `fit`).
        after: called with the run of each round, as soon as that has ended.

    Raises:
        RunError: a round in `out` was run with other options.
    """
    if count < 1:
        raise ConfigError(f"rounds: count must be at least 1, but is {count}")
    runs: list[Run] = []
    snapshots: list[Any] = []
    earlier: list[Sequence[Any]] = []
    for number in range(count):
        snapshots.append(policy.freeze("now"))
        folder = None if out is None else Path(out) / f"round-{number}"
        seed = derive(training.seed, number, purpose="round") % 2**31
        options = Training(**{**vars(training), "seed": seed})
        if folder is not None and resume and (done := _finished(folder, options, anyway=resume == "anyway")):
            run, path = done
            put_final(path, {"policy": cast(nn.Module, policy)})
            earlier.append(_read_rows(_rows_of(folder)))
        else:
            algorithm, data = build(Round(number, seed, policy, tuple(snapshots), options, tuple(earlier)))
            earlier.append(data)
            if folder is not None:
                _write_rows(_rows_of(folder), data)
            run = fit(algorithm, data, options, out=folder, resume=folder is not None and resume, evaluate=evaluate)
        runs.append(run)
        after(run)
    return runs


def _rows_of(folder: Path) -> Path:
    """Beside a round's folder, which is the run's own."""
    return folder.with_name(f"{folder.name}-rows.jsonl")


def _write_rows(path: Path, rows: Sequence[Any]) -> None:
    """What a round learns from, for people to read and for later rounds that build on it; where all of it is text."""
    if all(isinstance(r, Record) for r in rows) and on_main():
        with contextlib.suppress(ValueError, TypeError):
            said = [{"kind": type(r).__name__, "record": r.model_dump(exclude_defaults=True)} for r in rows]
            write_text(path, "".join(f"{json.dumps(row)}\n" for row in said))
    wait_for_all()


class Lost(Sequence[Any]):
    """What a round learned from where that was no text, and wasn't kept: rounds that don't look at it go on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        raise RunError(f"{self.path} is not there, and this round builds on it: begin anew in another folder")

    def __getitem__(self, i: Any) -> Any:
        return len(self)


def _read_rows(path: Path) -> Sequence[Any]:
    if not path.is_file():
        return Lost(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = {k.__name__: k for k in typing.get_args(AnyRecord)}
    return [kinds[r["kind"]].model_validate(r["record"]) for r in rows]


def _finished(folder: Path, options: Training, *, anyway: bool) -> tuple[Run, Path] | None:
    """A round that is done, and its last checkpoint."""
    if not (folder / "run.json").is_file():
        return None
    run, path = Run.open(folder), latest(folder)
    told = run.info
    if path is None or told.get("status") != "finished":
        return None
    old = {k: v for k, v in told["training"].items() if k in options_of(options)}
    if not anyway and (odd := differences(old, json.loads(json.dumps(options_of(options))))):
        raise RunError(f"{folder} was run with other options: {'; '.join(odd)}; give those, or resume anyway")
    return run, path
