"""I5: every record of a file is used, refused by its line, or counted with the reason."""

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.errors import FeedbackError
from accord.feedback import read

from .architectures import saved
from .matrix import Note, spread
from .test_i3_rewards import tokenizer

LONG = "the quick brown fox " * 60
KINDS: dict[str, Any] = {
    "a pair": lambda p: {"prompt": p, "chosen": "yes", "rejected": "no"},
    "a pair of the same": lambda p: {"prompt": p, "chosen": "yes", "rejected": "yes"},
    "a pair with an empty answer": lambda p: {"prompt": p, "chosen": "yes", "rejected": ""},
    "a pair beyond the context": lambda p: {"prompt": p, "chosen": LONG, "rejected": "no"},
    "a prompt beyond the context": lambda p: {"prompt": p + LONG, "chosen": "yes", "rejected": "no"},
    "a label": lambda p: {"prompt": p, "completion": "yes", "label": True},
    "a bad label": lambda p: {"prompt": p, "completion": "yes", "label": "perhaps"},
    "a rating": lambda p: {"prompt": p, "completion": "yes", "rating": 3},
    "a rating that is none": lambda p: {"prompt": p, "completion": "yes", "rating": "NaN"},
    "a ranking": lambda p: {"prompt": p, "completions": ["yes", "no", "what"], "scores": [3, 2, 1]},
    "a ranking with a tie": lambda p: {"prompt": p, "completions": ["yes", "no"], "scores": [1, 1]},
    "an example": lambda p: {"prompt": p, "completion": "yes"},
    "a prompt alone": lambda p: {"prompt": p, "answer": "5"},
    "a tool call": lambda p: {"prompt": [{"role": "user", "content": p}], "chosen": [{"role": "assistant", "content": "yes"}],
                              "rejected": [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
    "ends with the user": lambda p: {"prompt": [{"role": "user", "content": p}], "chosen": [{"role": "user", "content": "yes"}],
                                     "rejected": [{"role": "assistant", "content": "no"}]},
    "no record": lambda p: [p],
    "no prompt": lambda p: {"chosen": "yes", "rejected": "no"},
    "no JSON": lambda p: None,
}  # fmt: skip
METHODS = ("align dpo", "align kto", "align sft", "align grpo", "reward train")


def mixed(path: Path, seed: int) -> int:
    """A file of all kinds of records, good and bad, in any order; how many it holds."""
    draw = random.Random(seed)
    kinds = list(KINDS) * 2 + draw.choices(("a pair", "a label", "a rating", "an example"), k=60)
    draw.shuffle(kinds)
    lines = [
        json.dumps(KINDS[k](f"q {i} ?")) if k != "no JSON" else f'{{"prompt": "q {i}", ' for i, k in enumerate(kinds)
    ]
    path.write_text("\n".join(lines) + "\n")
    return len(lines)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", spread(range(6), range(1)))
def test_used_and_left_out_add_up_to_what_was_read(
    method: str, seed: int, models: Path, tmp_path: Path, note: Note
) -> None:
    data, out = tmp_path / "mixed.jsonl", tmp_path / "out"
    count = mixed(data, seed)
    words = method.split()[:1] if "align" in method else method.split()
    more = [method.split()[1]] if "align" in method else []
    if "grpo" in method:
        more += [
            "--reward",
            json.dumps({"matches": {"pattern": "a"}}),
            "--sampling.max_new_tokens",
            "2",
            "--group_size",
            "2",
        ]
    options = ["--policy" if "align" in method else "--model", saved("llama", models / "tools", tokenizer("Hermes tools", "byte-level")), "--data", data, "--out", out, "--test", "0.3", "--test_limit", "2", "--skip-bad",
               "--training.steps", "1", "--training.batch_size", "2", "--training.progress=false"]  # fmt: skip
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main([*words, *more, *map(str, options)])
    assert code == 0, said.getvalue()
    account = json.loads((out / "result.json").read_text())["intake"]
    left = sum(row["count"] for row in account["left_out"] if row["kind"] != "pair")  # a pair is a part of a ranking
    assert sum(account["read"].values()) == count
    assert left + sum(account["used"].values()) == count, account
    assert all(row["why"] and row["first"] for row in account["left_out"])
    line = next(x for x in said.getvalue().splitlines() if x.startswith("read "))
    assert f"read {count} records" in line
    assert all(row["why"] in line for row in account["left_out"]), line
    note("inputs", f"mixed records, {method}", result="every record used, or counted with the reason")


@pytest.mark.parametrize("seed", spread(range(50), range(3)))
def test_a_reader_that_skips_names_each_line_it_skips(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    count = mixed(path, seed)
    found = read(path, skip_bad=True)
    assert len(found) + len(found.skipped) == count
    lines = [int(s.partition("line ")[2].partition(":")[0]) for s in found.skipped]
    assert len(set(lines)) == len(lines), "each bad line is named once"
    with pytest.raises(FeedbackError, match=f"line {min(lines)}"):
        read(path)
