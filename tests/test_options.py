"""Options and configurations are checked before any work: a mistake is one line, exit code 2, and nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.worlds import letters

MODEL = str(letters.WEIGHTS)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


REFUSED = {
    "an unknown word": (["grpo", "--normalise=toknes"], "normalise"),
    "a flag as a text": (["grpo", "--scale=maybe"], "'scale' wants true or false"),
    "a group of one": (["grpo", "--group_size=1"], "group_size"),
    "a score that is none": (["rloo", "--unfinished=often"], "unfinished"),
    "a negative KL": (["ppo", "--kl=-1"], "kl"),
    "lambda above 1": (["ppo", "--lam=2"], "lam"),
    "a clip as a word": (["rloo", "--clip=abc"], "'clip' wants a number"),
    "beta below 0": (["dpo", "--beta=-1"], "beta"),
    "no beta": (["ipo", "--beta=0"], "beta"),
    "labels turned round": (["dpo", "--label_smoothing=0.9"], "label_smoothing"),
    "a weight below 0": (["kto", "--desirable_weight=-1"], "desirable_weight"),
    "an option of another": (["sft", "--beta=1"], "sft has no option 'beta'"),
    "options in a heap": (["dpo", "--options=7"], "by its own name"),
    "a section that is none": (["dpo", "--sampling=7"], "sampling"),
    "no numbers where two are wanted": (["dpo", "--training.betas=null"], "betas"),
    "no such device": (["dpo", "--device=abacus"], "abacus"),
    "no such precision": (["dpo", "--dtype=float3"], "float3"),
    "half a record": (["dpo", "--limit=0"], "limit"),
    "no rank": (["dpo", "--lora=0"], "lora"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_are_checked_before_anything_is_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (method, *options), wanted = REFUSED[name]
    data = lines(tmp_path / "p.jsonl", [{"prompt": 3}]) if "limit" in wanted else tmp_path / "missing.jsonl"
    reward = ["--reward", '{"length_penalty": {"target": 3}}'] if method in ("grpo", "rloo", "ppo") else []
    assert (
        main(
            [
                "align",
                method,
                "--policy",
                MODEL,
                "--data",
                str(data),
                "--out",
                str(tmp_path / "o"),
                *reward,
                *options,
            ]
        )
        == 2
    )
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert wanted in said
    assert not (tmp_path / "o").exists()


BROKEN = {
    "no YAML": "method: [dpo",
    "no mapping": "- dpo\n",
    "a number": "7",
    "an unknown key": "method: dpo\nmodle: x\n",
    "a section of numbers": "method: dpo\ntraining: 7\n",
    "a tag": "method: !!python/object:os.system dpo\n",
    "not UTF-8": b"method: dpo\nmodel: \xff\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = BROKEN[name]
    (tmp_path / "run.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["align", str(tmp_path / "run.yaml"), "--data", "none.jsonl", "--out", str(tmp_path / "o")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(("code", "said"), [("def f(:", "line 1: SyntaxError"), ("\nimport nothing_of_that_name", "line 2: ModuleNotFoundError"),
                                            ("raise SystemExit(3)", "line 1: SystemExit"), ("f = 3", "defines no function")])  # fmt: skip
def test_a_reward_that_cannot_be_imported_is_one_line(
    code: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reward.py").write_text(code)
    assert main(["reward", "evaluate", "--reward", f"{tmp_path / 'reward.py'}:f", "--data", "none.jsonl"]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_a_language_model_is_no_reward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lines(
        tmp_path / "pairs.jsonl",
        [{"prompt": f"what is {i} plus 1 ?", "chosen": "a", "rejected": "b"} for i in range(9)],
    )
    calls = [["reward", "evaluate", "--reward", MODEL, "--data", str(data)],
             ["sample", "--policy", MODEL, "--prompt", "p", "--search", "best-of-n", "--reward", MODEL]]  # fmt: skip
    for call in calls:
        assert main(call) == 2
        assert "without a reward head" in capsys.readouterr().err


def test_going_on_otherwise_is_refused_unless_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lines(
        tmp_path / "pairs.jsonl",
        [
            {"prompt": f"what is {i} plus 1 ?", "chosen": "the answer is 5 .", "rejected": "thank you ."}
            for i in range(12)
        ],
    )
    call = [
        "align",
        "simpo",
        "--policy",
        MODEL,
        "--lora",
        "1",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--test",
        "0.3",
        "--training.batch_size",
        "2",
        "--training.progress=false",
        "--training.steps",
        "1",
    ]
    assert main(call) == 0
    more = [*call, "--training.steps", "2"]
    assert main([*more, "--training.lr", "0.002", "--resume"]) == 1
    assert "lr" in capsys.readouterr().err.splitlines()[-1]
    assert main([*more, "--training.lr", "0.002", "--resume", "anyway"]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 2
