"""Rounds: build feedback with the policies there are by now, fit, repeat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.engine import Algorithm, Run, Training, derive, fit
from accord.engine.checkpoint import latest, load_weights
from accord.errors import ConfigError


@dataclass(frozen=True)
class Round:
    """What a round may build its feedback from.

    Attributes:
        number: counted from 0. seed: of this round.
        policy: as the last round left it.
        snapshots: the policy frozen before each round so far; the first is the start, the last is now.
    """

    number: int
    seed: int
    policy: Any
    snapshots: tuple[Any, ...]


Build = Callable[[Round], tuple[Algorithm, Sequence[Any]]]


def rounds(count: int, policy: Any, build: Build, training: Training, *, out: str | Path | None = None,
           resume: bool = False, evaluate: Callable[[int], dict[str, float]] | None = None) -> list[Run]:  # fmt: skip
    """Run `count` rounds; each calls ``build(round)`` for an algorithm on `policy` and its data, and fits it.

    Args:
        training: options of every round; round r trains with its own derived seed.
        out: folder that gets one run a round (round-0, round-1, …).
        resume: finished rounds are loaded instead of run again, a broken one goes on.
    """
    if count < 1:
        raise ConfigError(f"rounds: count must be at least 1, but is {count}")
    runs: list[Run] = []
    snapshots: list[Any] = []
    for number in range(count):
        snapshots.append(policy.freeze("now"))
        folder = None if out is None else Path(out) / f"round-{number}"
        done = folder is not None and resume and (folder / "run.json").is_file() and Run.open(folder)
        if done and done.info["status"] == "finished" and (path := latest(done.folder)):  # type: ignore[arg-type]
            load_weights(path / "policy.safetensors", policy)
            runs.append(done)
            continue
        seed = derive(training.seed, number, purpose="round") % 2**31
        algorithm, data = build(Round(number, seed, policy, tuple(snapshots)))
        options = Training(**{**vars(training), "seed": seed})
        runs.append(fit(algorithm, data, options, out=folder, resume=resume and folder is not None, evaluate=evaluate))
    return runs
