"""I6: any input or option works, or ends in one line with exit code 2 and nothing half-written."""

import contextlib
import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from accord.cli import main
from accord.errors import AccordError
from accord.feedback import read, rows_of

from .architectures import saved
from .matrix import FULL, Note, one_line
from .mutations import odd_bytes, odd_tree
from .test_i4_templates import CALL

TURN = {"role": "assistant", "content": "hello", "tool_calls": [CALL], "reasoning_content": "why not"}
ROWS: list[dict[str, Any]] = [
    {"prompt": "what is 2 plus 3 ?", "chosen": "the answer is 5 .", "rejected": "4", "score_chosen": 8.5, "score_rejected": 2},
    {"prompt": [{"role": "user", "content": "hi"}], "chosen": [TURN], "rejected": [{"role": "assistant", "content": "no"}], "tools": [{"name": "f"}]},
    {"prompt": "hi", "completion": "hello", "label": True},
    {"prompt": "hi", "completion": "hello", "rating": 4},
    {"prompt": "hi", "response": "hello", "helpfulness": 3, "verbosity": 1},
    {"prompt": "hi", "completions": ["a", "b", "c"], "scores": [3, 2, 1]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": "hello"}]},
    {"prompt": "hi", "answer": "hello", "context": "none", "annotator": "me"},
    {"question": "hi", "responses": ["a", "b"], "ranking": [1, 2]},
]  # fmt: skip
FILES = 10_000 if FULL else 400
CONFIGS = 1_500 if FULL else 100


def written(rows: list[Any], kind: str) -> bytes:
    flat = [
        {k: v for k, v in r.items() if isinstance(v, str | int | float | bool)} for r in rows if isinstance(r, dict)
    ]
    if kind == "json":
        return json.dumps(rows).encode()
    if kind in ("csv", "tsv"):
        text = io.StringIO()
        table = csv.DictWriter(
            text, list(dict.fromkeys(k for r in flat for k in r)), delimiter="\t" if kind == "tsv" else ","
        )
        table.writeheader()
        table.writerows(flat)
        return text.getvalue().encode("utf-8", "surrogatepass")
    if kind == "parquet":
        binary = io.BytesIO()
        pq.write_table(
            pa.Table.from_pylist([{k: str(v).encode("utf-8", "replace").decode() for k, v in r.items()} for r in flat]),
            binary,
        )
        return binary.getvalue()
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    return gzip.compress(lines, 1) if kind == "jsonl.gz" else lines


def test_a_mutated_file_is_read_or_refused_in_a_line(tmp_path: Path, note: Note) -> None:
    for seed in range(FILES):
        draw = random.Random(seed)
        kind = draw.choice(("jsonl", "jsonl", "json", "csv", "tsv", "jsonl.gz", "parquet"))
        rows = draw.sample(ROWS, 3) if draw.random() < 0.5 else [draw.choice(ROWS)] * 3
        if draw.random() < 0.7:
            data = written([odd_tree(r, draw, draw.randint(1, 2)) for r in rows], kind)
        else:
            data = odd_bytes(written(rows, kind), draw)
        path = tmp_path / f"data.{kind}"
        path.write_bytes(data)
        with explained(f"seed {seed}: {data[:300]!r}"):
            strict = attempt(lambda path=path: read(path))
            lenient = attempt(lambda path=path: read(path, skip_bad=True))
            if strict is not None:
                assert lenient == strict, "nothing is skipped where nothing is bad"
                assert len(rows_of(path)) == len(strict)
            if lenient is not None:
                assert all(one_line(AccordError(s)) for s in lenient.skipped)
    note("inputs", "files", result=f"{FILES:,} mutated ones: read, or refused in a line")


BASES: dict[str, dict[str, Any]] = {
    "align dpo": {"method": "dpo", "options": {"beta": 0.1, "label_smoothing": 0.0}, "lora": 2, "max_tokens": 64, "test_limit": 2},
    "align kto": {"method": "kto", "options": {"beta": 0.1, "desirable_weight": 1.0}, "dtype": "float32"},
    "align grpo": {"method": "grpo", "options": {"kl": 0.1, "normalise": "tokens"}, "group_size": 2, "test_limit": 2, "reward": {"matches": {"pattern": "a+"}},
                   "sampling": {"max_new_tokens": 2, "temperature": 1.0, "stop": ["x"]}},
    "align ppo": {"method": "ppo", "options": {"kl": 0.1, "lam": 0.9}, "reward": {"length_penalty": {"target": 4}}, "sampling": {"max_new_tokens": 2}, "test_limit": 2},
    "align sft": {"method": "sft", "chat": False, "limit": 30, "columns": {"prompt": "prompt"}, "gradient_checkpointing": True},
    "reward train": {"fitting": {"strength": "ignore", "label_smoothing": 0.1, "centre": 0.01}, "test_limit": 2, "device": "cpu", "split_by": "prompt"},
}  # fmt: skip
TRAINING = {"steps": 1, "batch_size": 2, "micro_batch_size": 1, "lr": 1e-3, "schedule": "linear", "warmup": 0.1, "betas": [0.9, 0.99], "seed": 1,
            "ema": 0.9, "keep": 1, "checkpoint_every": 1, "evaluate_every": 1, "progress": False, "lr_of": {}}  # fmt: skip


def test_a_mutated_configuration_runs_or_is_refused_in_a_line(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    monkeypatch.chdir(tmp_path)  # a mutated out may be any name
    model = str(saved("llama", models))
    data = {kind: tmp_path / f"{kind}.jsonl" for kind in ("pairs", "labels")}
    data["pairs"].write_text(
        "".join(json.dumps({"prompt": f"q {i}", "chosen": "yes it is", "rejected": "no"}) + "\n" for i in range(12))
    )
    data["labels"].write_text(
        "".join(json.dumps({"prompt": f"q {i}", "completion": "yes", "label": i % 2 == 0}) + "\n" for i in range(12))
    )
    for seed in range(CONFIGS):
        draw = random.Random(seed)
        command = draw.choice(list(BASES))
        rows, out = data["labels" if "kto" in command else "pairs"], tmp_path / f"out-{seed}"
        base = {"model": model, "data": str(rows), "out": str(out), "test": 0.3, "training": TRAINING, **BASES[command]}
        config = tmp_path / "run.yaml"
        if draw.random() < 0.85:
            config.write_text(yaml.safe_dump(odd_tree(base, draw, draw.randint(1, 2))), "utf-8", "backslashreplace")
        else:
            config.write_bytes(odd_bytes(yaml.safe_dump(base).encode(), draw))
        with explained(f"seed {seed}: accord {command}\n{config.read_text('utf-8', 'replace')}"):
            code, said = called(*command.split()[: 2 if "reward" in command else 1], "--config", str(config))
            assert code in (0, 1, 2), said
            last = said.strip().splitlines()[-1] if said.strip() else ""
            assert code == 0 or last.startswith("accord: "), said
            assert said.count("accord: ") <= 1, said
            assert code != 2 or not list(out.rglob("*")), f"refused, but {out} is there: {said}"
        left = [p for p in tmp_path.rglob(".*") if p.name.endswith((".part", ".tmp"))]
        assert not left, f"seed {seed} leaves {left}"
    note("inputs", "configurations", result=f"{CONFIGS:,} mutated ones: run, or refused in a line")


def attempt(f: Any) -> Any:
    """What f returns; None where it is refused, in one line."""
    try:
        return f()
    except AccordError as refusal:
        one_line(refusal)
        return None


def called(*args: str) -> tuple[int, str]:
    """The command line in this process: its exit code and what it says on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(list(args))
    return code, said.getvalue()


@contextlib.contextmanager
def explained(words: str) -> Any:
    """Say what input it was where something fails."""
    try:
        yield
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}\n{words}")
