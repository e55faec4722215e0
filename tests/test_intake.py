"""Every command accounts for every record, and refuses in one line, before any work, what can't be done."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.policies import LanguagePolicy
from accord.worlds import letters
from conftest import tiny_policy

MODEL = str(letters.WEIGHTS)
QUICK = [
    "--test",
    "0.3",
    "--training.steps",
    "1",
    "--training.batch_size",
    "2",
    "--training.lr",
    "0.001",
    "--training.progress=false",
]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def pair(i: int, chosen: str = "the answer is 5 .", rejected: str = "no .") -> dict[str, Any]:
    return {"prompt": f"what is {i % 9} plus {i // 9} ?", "chosen": chosen, "rejected": rejected}


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def accounted(intake: dict[str, Any]) -> bool:
    """Whether all that was read is used or left out with a reason."""
    return sum(intake["read"].values()) == sum(x["count"] for x in intake["left_out"]) + sum(intake["used"].values())


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Feedback as it comes: 24 good pairs, and eight records that can't be learned from, each for a reason of its own."""
    odd = [pair(30, "same .", "same ."), pair(31, ""), pair(32, rejected=" \n"), pair(33, "the " * 99), {"prompt": "p", "completion": "a", "label": True},
           {"prompt": "p", "completion": "a", "rating": 4}, {"prompt": "p"}, {"prompt": "p", "chosen": "a", "rejected": 3}]  # fmt: skip
    return lines(tmp_path / "mixed.jsonl", [*(pair(i) for i in range(24)), *odd])


def test_alignment_says_what_it_reads_uses_and_leaves_out(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [
        "align",
        "simpo",
        "--policy",
        MODEL,
        "--data",
        str(mixed),
        "--out",
        str(tmp_path / "run"),
        "--max_tokens",
        "60",
        *QUICK,
    ]
    assert main([*call, "--skip-bad"]) == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("read 32 records: ")
    for words in ("malformed; the first: line 32", "1 label (simpo learns from comparisons or rankings; the first: line 29)", "1 rating (", "1 task (",
                  "2 comparisons (an answer is empty; the first: line 26)", "1 comparison (its answers are the same; the first: line 25)",
                  "1 comparison (longer than max_tokens=60; the first: line 28)"):  # fmt: skip
        assert words in said
    intake = result(tmp_path / "run")["intake"]
    assert accounted(intake)
    assert sum(intake["used"].values()) == 24
    assert result(tmp_path / "run")["train_records"] == intake["used"]["to_train_on"]
    # Without leave to skip, the malformed record stops it; with nothing left, the reasons are the error.
    assert main([*call, "--out", str(tmp_path / "other")]) == 2
    assert "line 32: field 'rejected'" in capsys.readouterr().err
    useless = lines(tmp_path / "labels.jsonl", [{"prompt": "p", "completion": "a", "label": 1, "who": "x"}] * 3)
    assert main([*call, "--data", str(useless), "--out", str(tmp_path / "other")]) == 2
    said = capsys.readouterr().err
    assert "3 labels (simpo learns from comparisons or rankings" in said
    assert "its columns are who" in said
    assert not (tmp_path / "other").exists()


def test_answers_that_are_the_same_tokens_and_pairs_within_rankings_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rankings = [
        {
            "prompt": f"what is {i} plus 1 ?",
            "completions": ["the answer is 5 .", "thank you .", "thank you ."],
            "scores": [3, 2, 1],
        }
        for i in range(9)
    ]
    tied = {"prompt": "p", "completions": ["a", "b"], "scores": [1, 1]}
    data = lines(tmp_path / "rankings.jsonl", [*rankings, tied, pair(20, "the answer  is 5 .", "the answer is 5 .")])
    assert main(["align", "orpo", "--policy", MODEL, "--data", str(data), "--out", str(tmp_path / "run"), *QUICK]) == 0
    said = capsys.readouterr().err
    assert "1 ranking (its answers are rated the same; the first: line 10)" in said
    assert "9 pairs (within a ranking, its answers are the same" in said
    left = {(x["kind"], x["why"]) for x in result(tmp_path / "run")["intake"]["left_out"]}
    assert any(kind == "comparison" and "same tokens" in why for kind, why in left)


@pytest.fixture
def short(tmp_path: Path) -> str:
    """A model with learned positions that takes 256 tokens."""
    tiny_policy("gpt2").save(tmp_path / "short")
    return str(tmp_path / "short")


LONG = "what is 2 plus 3 ? " * 60


def test_nothing_longer_than_the_model_takes_reaches_it(
    short: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert LanguagePolicy.load(short).context == 256
    long = [{**pair(40), "prompt": LONG}, pair(41, rejected=LONG)]
    data = lines(tmp_path / "pairs.jsonl", [*(pair(i) for i in range(12)), *long])
    assert main(["align", "dpo", "--policy", short, "--data", str(data), "--out", str(tmp_path / "run"), *QUICK]) == 0
    assert (
        "2 comparisons (longer than the 256 tokens that the model takes; the first: line 13)" in capsys.readouterr().err
    )
    assert accounted(result(tmp_path / "run")["intake"])
    call = ["align", "grpo", "--policy", short, "--data", str(data), "--out", str(tmp_path / "run2"), "--reward", '{"matches": {"pattern": "a"}}',
            "--group_size", "2", "--sampling.max_new_tokens", "2", *QUICK]  # fmt: skip
    assert main(call) == 0
    assert "1 comparison (longer than the 256 tokens" in capsys.readouterr().err, "GRPO reads no answers"
    draw = ["sample", "--policy", short, "--sampling.max_new_tokens", "2"]
    assert main([*draw, "--data", str(data)]) == 0
    said = capsys.readouterr()
    assert "used 13 to be answered" in said.err
    assert len(said.out.splitlines()) == 13
    assert main([*draw, "--prompt", LONG]) == 2
    assert "256" in capsys.readouterr().err


def test_a_reward_learns_from_ratings_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "prompt": f"what is {i % 10} plus 1 ?",
            "completion": f"the answer is {i // 10} .",
            "aspects": {"tone": 1, "truth": i // 10},
        }
        for i in range(30)
    ]
    data = lines(tmp_path / "ratings.jsonl", [*rows, {"prompt": "p", "completion": "a", "aspects": {"tone": 2}}])
    call = [
        "reward",
        "train",
        "--model",
        MODEL,
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--aspect",
        "truth",
        *QUICK,
    ]
    assert main(call) == 0
    said = capsys.readouterr()
    assert "1 rating (not rated by truth; the first: line 31)" in said.err
    found = result(tmp_path / "run")
    assert accounted(found["intake"])
    # A fresh head says 0 of everything: it orders nothing, and is off by the ratings themselves.
    held = found["test_ratings"]
    assert held % 3 == 0, "answers of one prompt are held out together"
    assert found["test_pairs"] == held, "three answers of a prompt, rated 0, 1, 2, make three pairs"
    assert found["before"]["rank_correlation"] == 0
    assert found["before"]["error"] == pytest.approx((5 / 3) ** 0.5)
    assert found["before"]["accuracy"] == 0.5
    assert f"on {held} ratings" in said.out
    assert main([*call[:-10], "--aspect", "wit", *QUICK]) == 2


def test_what_is_scored_and_measured_is_counted(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reward = tmp_path / "reward.py"
    reward.write_text(
        "def length(*, prompts, completions, **columns):\n    return [float(len(c)) for c in completions]\n"
    )
    assert (
        main(["reward", "evaluate", "--reward", f"{reward}:length", "--data", str(mixed), "--skip-bad", "--json"]) == 0
    )
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert accounted(found["intake"])
    assert found["accuracy"]["n"] == 27
    assert "1 comparison (its answers are the same" in said.err
    assert (
        main(
            [
                "reward",
                "score",
                "--reward",
                f"{reward}:length",
                "--data",
                str(mixed),
                "--skip-bad",
                "--out",
                str(tmp_path / "s.jsonl"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "28 comparisons (scoring takes examples or labels or ratings" in said
    assert "used 2 scored" in said
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 2


def test_a_prompt_is_left_out_where_its_answer_would_be_longer_than_the_reward_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_policy("gpt2").save(tmp_path / "base")
    data = lines(tmp_path / "pairs.jsonl", [pair(i) for i in range(12)])
    assert (
        main(
            [
                "reward",
                "train",
                "--model",
                str(tmp_path / "base"),
                "--data",
                str(data),
                "--out",
                str(tmp_path / "rm"),
                *QUICK,
            ]
        )
        == 0
    )
    capsys.readouterr()
    prompts = lines(
        tmp_path / "prompts.jsonl", [{"prompt": "what is 2 plus 3 ?"}, {"prompt": "what is 2 plus 3 ? " * 41}]
    )
    draw = [
        "sample",
        "--policy",
        MODEL,
        "--data",
        str(prompts),
        "--n",
        "2",
        "--search",
        "best-of-n",
        "--reward",
        str(tmp_path / "rm" / "model"),
    ]
    assert main([*draw, "--sampling.max_new_tokens", "20"]) == 0
    assert "1 task (longer than the 256 tokens that the reward takes, with an answer of 20" in capsys.readouterr().err


def test_supervision_looks_at_the_chosen_answer_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lines(
        tmp_path / "pairs.jsonl",
        [pair(0, ""), pair(1, rejected=""), pair(2, rejected=LONG), *(pair(i) for i in range(3, 14))],
    )
    call = [
        "align",
        "sft",
        "--policy",
        MODEL,
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--max_tokens",
        "60",
        *QUICK,
    ]
    assert main(call) == 0
    assert result(tmp_path / "run")["intake"]["left_out"] == [
        {"kind": "comparison", "why": "an answer is empty", "count": 1, "first": "line 1"}
    ]
