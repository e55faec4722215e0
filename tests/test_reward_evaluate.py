"""accord reward evaluate, as a user meets it: whatever the reward is, it is told what the data say, and the words are those of the page."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main

REWARDS = """
def plain(prompts, completions):
    return [float(len(c)) for c in completions]

def answers(completions):
    return [float(len(c)) for c in completions]

def graded(prompts, completions, answer):
    return [float(a in c) for c, a in zip(completions, answer)]

def graded_too(*, prompts, completions, answer, **columns):
    return graded(prompts, completions, answer)

def heeds(*, completions, context=None, **columns):
    return [len(c) * (-1.0 if who == "be short" else 1.0) for c, who in zip(completions, context or [None] * len(completions))]
"""
SAID = [{"prompt": f"what is {i} ?", "chosen": f"it is {i} , as I said", "rejected": "no idea"} for i in range(24)]
REVERSALS = [row | two for row in SAID for two in ({"context": "be long"},
             {"context": "be short", "chosen": row["rejected"], "rejected": row["chosen"]})]  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(REWARDS)
    return str(tmp_path / "mine.py")


def call(command: str, reward: str, rows: list[dict[str, Any]], folder: Path, *options: str) -> int:
    (folder / "said.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return main(["reward", command, f"--reward={reward}", f"--data={folder / 'said.jsonl'}", *options])


def evaluated(reward: str, rows: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:  # fmt: skip
    assert call("evaluate", reward, rows, folder, "--probes=0", "--json", *options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", ["plain", "answers"])
def test_a_function_is_told_what_it_names_and_no_more(
    name: str, mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(f"{mine}:{name}", SAID, tmp_path, capsys)["accuracy"]["value"] == 1


@pytest.mark.parametrize("name", ["graded", "graded_too"])
@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_a_column_that_a_function_wants_and_the_data_lack_is_named(
    name: str, command: str, mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "scored.jsonl")] if command == "score" else []
    rows = [{"prompt": r["prompt"], "completion": r["chosen"]} for r in SAID] if command == "score" else SAID
    assert call(command, f"{mine}:{name}", [r | {"topic": "sums"} for r in rows], tmp_path, *out) == 2
    said = capsys.readouterr().err
    assert f"{mine}:{name} wants the column 'answer'" in said
    assert "their columns: topic" in said


def test_a_context_reaches_the_reward(mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(f"{mine}:heeds", REVERSALS, tmp_path, capsys)["accuracy"]["value"] == 1
    deaf = evaluated(f"{mine}:plain", REVERSALS, tmp_path, capsys)["accuracy"]
    assert deaf["value"] == 0.5, "who doesn't read it is right in one of two"
    rows = [{"prompt": r["prompt"], "completion": r["chosen"], "context": r["context"]} for r in REVERSALS]
    assert call("score", f"{mine}:heeds", rows, tmp_path, f"--out={tmp_path / 'scored.jsonl'}") == 0
    scored = [json.loads(line)["reward"] for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert all((reward < 0) == (row["context"] == "be short") for reward, row in zip(scored, rows, strict=True))
