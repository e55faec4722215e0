"""accord reward train --method: nothing that a call says is dropped, nothing that can't be learned from reaches a method, and nothing trained is lost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main

ANSWERS = ["the answer is 5 .", "no idea , sorry .", "thank you .", "it is 4 ."]


def trained(folder: Path, rows: list[dict[str, Any]], method: str, *options: str) -> int:
    (folder / "said.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return main(["reward", "train", "--model=letters", f"--data={folder / 'said.jsonl'}", f"--out={folder / 'run'}", f"--method={method}",
                 "--test=0.4", "--probes=0", *options])  # fmt: skip


def verdicts(people: int, each: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"what is {k} plus 2 ?", "chosen": ANSWERS[k % 2], "rejected": ANSWERS[2 + k % 2], "annotator": f"who-{i}", **more}
            for i in range(people) for k in range(each)]  # fmt: skip


def taught_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a method is told of training; filled when it is called."""
    from accord.rewards import PAL

    fitted, seen = PAL.fitted, {}

    def watched(self: Any, pairs: Any, **training: Any) -> Any:
        seen.update(training)
        return fitted(self, pairs, **{**training, "steps": 1})

    monkeypatch.setattr(PAL, "fitted", watched)
    return seen


@pytest.mark.parametrize(
    "said", [["--training.epochs=1", "--training.batch_size=8"], ['--training={"epochs": 1, "batch_size": 8}']]
)
def test_what_is_said_of_training_counts_where_it_is_the_default_too(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = taught_with(monkeypatch)
    assert trained(tmp_path, verdicts(10, 4), "pal", "--known_by=2", *said) == 0
    assert seen == {"epochs": 1, "batch_size": 8}


def test_a_flag_wins_over_a_configuration_even_by_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = taught_with(monkeypatch)
    (tmp_path / "c.yaml").write_text("training:\n  epochs: 4\n  lr: 0.001\n")
    call = ["--known_by=2", "--config", str(tmp_path / "c.yaml"), "--training.epochs=1"]
    assert trained(tmp_path, verdicts(10, 4), "pal", *call) == 0
    assert seen == {"epochs": 1, "lr": 0.001}


@pytest.mark.parametrize(
    ("method", "option"),
    [("pal", "curated=true"), ("pal", "fitting.centre=0.5"), ("pal", "aspect=nonsense"), ("pal", "split_by=debate"), ("pal", "test_limit=5"),
     ("basereward", "known_by=4"), ("basereward", "aspect=help"), ("basereward", "lora=4")],
)  # fmt: skip
def test_an_option_that_would_do_nothing_is_refused(
    method: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(tmp_path, verdicts(10, 4), method, f"--{option}") == 2
    assert re.search(f"leave {re.split('[.=]', option)[0]} out", capsys.readouterr().err)


def test_a_card_lies_beside_a_head(tmp_path: Path) -> None:
    assert trained(tmp_path, verdicts(10, 4), "pal", "--known_by=2", "--training.steps=1", "--probes=2") == 0
    assert "the held-out part of" in (tmp_path / "run/model/README.md").read_text()


@pytest.mark.parametrize("method", ["basereward", "reward-robust-rlhf"])
def test_rankings_teach_by_the_pairs_within_and_ratings_are_left_out(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rated = [{"prompt": f"what is {k} plus 1 ?", "completion": ANSWERS[0], "rating": float(k)} for k in range(4)]
    ranked = [{"prompt": f"what is {k} plus 2 ?", "completions": ANSWERS[:3], "scores": [3.0, 2.0, 1.0]} for k in range(12)]  # fmt: skip
    assert trained(tmp_path, rated, method) == 2
    assert f"{method} learns from comparisons or rankings" in capsys.readouterr().err
    assert trained(tmp_path, ranked, method, "--training.steps=1") == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["train_records"] + result["held_out"] == 36


def test_that_nobody_said_enough_to_be_tested_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = taught_with(monkeypatch)
    assert trained(tmp_path, verdicts(10, 4), "pal", "--training.steps=1") == 2
    assert "give a smaller number of them" in capsys.readouterr().err
    assert not seen


def test_one_record_with_a_context_does_not_make_people_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*verdicts(10, 4), *verdicts(1, 1, context="be short")]
    assert trained(tmp_path, rows, "pal", "--known_by=2", "--training.steps=1") == 0
    said = capsys.readouterr()
    assert "new people, each known by 2 others" in said.out
    assert "1 comparison (pal reads no context" in said.err
