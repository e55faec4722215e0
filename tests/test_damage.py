"""Runs whose files were cut short or lost: what can be kept is kept, the rest is one line that says how to mend it."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.engine import Run
from accord.errors import RunError
from accord.evaluation import write_report
from line import Line, train, weights


def cut(path: Path, by: int = 9) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def kept(folder: Path) -> Any:
    """A finished run with three checkpoints."""
    return train(
        steps=3, checkpoint_every=1, keep=3, ema=0.9, out=folder, evaluate=lambda s: {"x": 1.0}, evaluate_every=1
    )


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        out = tmp_path / name
        kept(out)
        cut(out / name)
        assert len(Run.open(out).metrics) == 3 - (name == "metrics.jsonl")
        write_report(out)
        train(steps=4, ema=0.9, out=out, resume=True, evaluate=lambda s: {"x": 1.0})
        assert [json.loads(line)["step"] for line in (out / name).read_text().splitlines()][-1] == 4


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl", "run.json"])
def test_other_damage_is_one_line_that_says_where_and_how_to_mend_it(tmp_path: Path, name: str) -> None:
    out = tmp_path / "r"
    kept(out)
    file = out / name
    file.write_text(file.read_text()[20:])
    for use in (lambda: Run.open(out).info, lambda: train(steps=4, ema=0.9, out=out, resume=True)):
        with pytest.raises(RunError, match=f"{name}(, line 1 is damaged|: )") as error:
            use()
        assert "\n" not in str(error.value)
    if name != "run.json":
        file.write_text("\n".join(file.read_text().splitlines()[1:]) + "\n")  # as the error says
    train(steps=4, ema=0.9, out=out, resume="anyway" if name == "run.json" else True)


FILES = ["line.safetensors", "line.optimizer.safetensors", "ema.extra.safetensors", "state.json"]


@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_one_line_and_without_it_the_one_before_serves(tmp_path: Path, name: str, damage: Any) -> None:  # fmt: skip
    whole = kept(tmp_path / "whole")[0]
    kept(out := tmp_path / "r")
    last = out / "checkpoints" / "step-000003"
    damage(last / name)
    algorithm = Line()
    with pytest.raises(RunError, match=f"{name}.*delete .*step-000003") as error:
        train(algorithm, steps=3, ema=0.9, out=out, resume=True)
    assert "\n" not in str(error.value)
    assert weights(algorithm) == (0.0, 0.0)
    for file in last.iterdir():
        file.unlink()
    last.rename(last.with_name(".step-000003.part"))  # what a kill in mid-write leaves never counts
    again, run = train(steps=3, ema=0.9, out=out, resume=True)
    assert weights(again) == weights(whole)
    assert len(run.metrics) == 3


def test_a_start_that_came_to_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    """Killed after its first evaluation, before its first step."""
    out = tmp_path / "r"
    train(steps=1, out=out, evaluate=lambda s: {"x": 1.0})
    for name in ("metrics.jsonl", "checkpoints/step-000001/state.json"):
        (out / name).unlink()
    train(steps=1, out=out, evaluate=lambda s: {"x": 2.0})
    assert [e["x"] for e in Run.open(out).evaluations] == [2.0, 2.0]
