"""Scoring a file part by part, by workers or here: the lines of the whole, in its order, in the memory of a part."""

import json
import tracemalloc
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.cli.scoring import PART, by_parts

REWARD = {"combine": {"rewards": {"short": {"length_penalty": {"target": 3}}, "right": "numeric_answer"}}}
CALL: dict[str, Any] = {"columns": None, "skip_bad": True, "chat": False, "batch_size": 32, "device": "cpu", "dtype": "auto"}  # fmt: skip


def rows(n: int) -> Iterable[dict[str, Any]]:
    return ({"prompt": f"what is {i} ?", "completion": f"well , {i} words " * (i % 5 + 1), "answer": i} for i in range(n))  # fmt: skip


def written(path: Path, some: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in some))
    return path


def whole(data: Path, out: Path) -> str:
    assert main(["reward", "score", "--reward", json.dumps(REWARD), "--data", str(data), "--out", str(out), "--skip_bad", "true"]) == 0  # fmt: skip
    return out.read_text()


def test_parts_are_scored_as_the_whole_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    some = list(rows(PART + 20))
    some[PART + 5] = {"prompt": "what is this ?", "chosen": "a", "rejected": "b"}
    some[7] = {"prompt": "what is this ?"}
    some[9] = {"completion": "a"}
    data = written(tmp_path / "data.jsonl", some)
    sums, told = by_parts(REWARD, str(data), tmp_path / "parts.jsonl", 0, **CALL)
    assert (tmp_path / "parts.jsonl").read_text() == whole(data, tmp_path / "whole.jsonl")
    values = [json.loads(line)["reward"] for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    assert sums.total / sums.applies == pytest.approx(sum(values) / len(values))
    assert told.startswith(f"read {PART + 20} records; left out ")
    assert "1 comparison (scoring takes examples or labels or ratings)" in told
    assert told.endswith(f"used {PART + 17} scored")


def test_a_longer_file_takes_no_more_memory(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        data = written(tmp_path / "data.jsonl", rows(n))
        tracemalloc.start()
        try:
            by_parts({"length_penalty": {"target": 3}}, str(data), tmp_path / "out.jsonl", 0, **CALL)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is loaded once
    assert peak(6 * PART) < 1.2 * peak(2 * PART)


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_workers_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path / "data.jsonl", rows(3))
    asked = ["reward", "score", "--reward", json.dumps(REWARD), "--data", str(data), "--out", str(tmp_path / "o.jsonl")]
    assert main([*asked, "--workers=2"]) == 2
    said = capsys.readouterr().err
    assert 'pip install "accord[ray]"' in said
    assert "Traceback" not in said
    assert not (tmp_path / "o.jsonl").exists()
