"""Rounds: build feedback with the policies there are by now, fit, repeat."""

import contextlib
import json
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, cast

from torch import nn

from accord.engine import Algorithm, Run, Training, derive, fit, on_main, wait_for_all
from accord.engine.checkpoint import latest
from accord.engine.fit import Resume
from accord.engine.origin import differences, options_of
from accord.engine.run import write_text
from accord.engine.weights import put_final
from accord.errors import ConfigError, FeedbackError, RunError, wanted
from accord.feedback import Record, rows_of
from accord.feedback.records import AnyRecord
from accord.policies.capabilities import Freezes, check


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


class RoundMethod:
    """A method of rounds: of its policy as it is, and of a part of the data, it makes what the next round learns, and from what.

    Attributes:
        rows: the records that it begins with.
    """

    rows: tuple[type, ...] = (Record, str, list)

    def __init__(self, policy: Freezes, rounds: int) -> None:
        wanted(rounds >= 1, f"{type(self).__name__} wants rounds >= 1", rounds)
        check(policy, signature(type(self)).parameters["policy"].annotation, type(self).__name__)
        self.policy, self.rounds = policy, rounds

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Any]]:
        """What learns in this round, and from which rows."""
        raise NotImplementedError

    def fit(self, rows: Any, training: Training | None = None, **options: Any) -> list[Run]:
        """Run all rounds, each on a part of the rows that is its own; options as for `rounds`."""
        given = rows_of(rows)
        if len(given) < self.rounds:
            raise FeedbackError(f"{self.rounds} rounds want as many records at least, but there are {len(given)}")
        return rounds(self.rounds, self.policy, lambda now: self.build(now, given[now.number :: self.rounds]),
                      training or Training(), **options)  # fmt: skip


def rounds(count: int, policy: Freezes, build: Build, training: Training, *, out: str | Path | None = None,
           resume: Resume = False, evaluate: Callable[[int], dict[str, float]] | None = None) -> list[Run]:  # fmt: skip
    """Run `count` rounds; each calls ``build(round)`` for an algorithm on `policy` and its data, and fits it.

    Args:
        training: options of every round; round r trains with its own derived seed.
        out: folder that gets one run a round (round-0, round-1, …).
        resume: finished rounds are loaded instead of run again, a broken one goes on; "anyway" even with other options or
            if what `build` makes is not the same again (see `fit`).

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
            runs.append(run)
            earlier.append(_read_rows(_rows_of(folder)))
            continue
        algorithm, data = build(Round(number, seed, policy, tuple(snapshots), options, tuple(earlier)))
        earlier.append(data)
        if folder is not None:
            _write_rows(_rows_of(folder), data)
        runs.append(fit(algorithm, data, options, out=folder, resume=folder is not None and resume, evaluate=evaluate))
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


def _read_rows(path: Path) -> list[Any]:
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
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
