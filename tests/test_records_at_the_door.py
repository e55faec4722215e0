"""What people really have in their files: spreadsheets, dumps, chat logs, damage. It is read whole, or refused in one line."""

import copy
import csv
import datetime
import decimal
import gzip
import io
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from accord.errors import AccordError, ConfigError, FeedbackError
from accord.feedback import (
    Comparison,
    Label,
    Task,
    columns_of,
    picture_key,
    prompt_key,
    read,
    rows_of,
    text_of_completion,
)

USER = [{"role": "user", "content": "weather?"}]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"at": "Oslo"}}}],
}
TOOLS = [{"type": "function", "function": {"name": "look"}}]
GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.jsonl.gz", "a.json"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(name: str, tmp_path: Path) -> None:
    delimiter = "\t" if "tsv" in name else ","
    text = delimiter.join(GOOD) + "\n" + delimiter.join(GOOD.values()) + "\n" if "sv" in name else json.dumps(GOOD)
    data = b"\xef\xbb\xbf" + text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read(tmp_path / name).records == read([GOOD]).records


@pytest.mark.parametrize("value", [True, 1, 1.0, "True", "TRUE", "true", "1", "1.0", " true", np.bool_(True)])
def test_a_label_is_a_label_however_it_is_written(value: Any, tmp_path: Path) -> None:
    wanted = [Label(prompt="p", completion="a", label=True)]
    assert list(read([{"prompt": "p", "completion": "a", "label": value}])) == wanted
    path = tmp_path / "labels.csv"
    path.write_text(f"prompt,completion,label\np,a,{value}\n")
    assert list(read(path)) == wanted
    for odd in ("maybe", 2, 0.5, "", None, [True]):
        with pytest.raises(FeedbackError, match="field 'label'"):
            read([{"prompt": "p", "completion": "a", "label": odd}])


@pytest.mark.parametrize(("row", "field"), [
    ({"prompt": "p", "completion": "a", "rating": math.nan}, "rating"),
    ({"prompt": "p", "completion": "a", "rating": "nan"}, "rating"),
    ({"prompt": "p", "completion": "a", "aspects": {"x": math.inf}}, "aspects.x"),
    ({"prompt": "p", "completions": ["a", "b"], "scores": [1, math.nan]}, "scores.1"),
    ({**GOOD, "margin": math.inf}, "margin"),
    ({**GOOD, "score_chosen": 1e400, "score_rejected": 1}, "score_chosen"),
    ({**GOOD, "weights": [{"w": math.nan}]}, "weights.0.w"),
])  # fmt: skip
def test_a_number_that_is_none_is_named_by_line_and_field(row: dict[str, Any], field: str, tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(row)}\n")
    with pytest.raises(FeedbackError, match=rf"numbers\.jsonl, line 2: field '{field}'"):
        read(path)
    assert len(read(path, skip_bad=True)) == 1
    with pytest.raises(ValueError, match="finite"):
        Comparison(**GOOD, strength=math.inf)


def test_a_tool_call_is_an_answer_and_its_tools_ride_on_the_prompt(tmp_path: Path) -> None:
    row = {
        "prompt": USER,
        "chosen": [CALL],
        "rejected": [{"role": "assistant", "content": "sunny"}],
        "tools": json.dumps(TOOLS),
    }
    found = read([row])[0]
    assert isinstance(found, Comparison)
    assert found.chosen == CALL
    assert found.rejected == "sunny", "a turn that holds text alone is that text"
    assert found.prompt == [{**USER[0], "tools": TOOLS}]
    assert "tools" not in found.columns
    assert text_of_completion(found.chosen) == ""
    assert read([found.model_dump()])[0] == found, "a record that was written down reads back"
    # Arrow gives every message the keys of all others; what was never said must not be said.
    pq.write_table(
        pa.Table.from_pylist([{**row, "chosen": [CALL], "rejected": row["rejected"]}]), tmp_path / "a.parquet"
    )
    assert read(tmp_path / "a.parquet")[0] == found
    for other in (
        {**CALL, "tool_calls": [{"function": {"name": "look", "arguments": {"at": "Rome"}}}]},
        {**CALL, "reasoning_content": "hm"},
    ):
        assert picture_key(other) != picture_key(CALL)
    assert prompt_key(found.prompt) != prompt_key(USER)


def test_reasoning_names_and_parts_are_kept() -> None:
    turn = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2", "name": "ann"}
    asked = [{"role": "tool", "content": "22", "tool_call_id": "x7", "name": "look"}, *USER]
    found = read([{"messages": [*asked, turn]}])[0]
    assert (found.prompt, found.completion) == (asked, turn)  # type: ignore[union-attr]
    parts = [{"type": "text", "text": "su"}, {"type": "text", "text": "nny"}]
    assert read([{"prompt": USER, "completion": {"role": "assistant", "content": parts}}])[0].completion == "sunny"  # type: ignore[union-attr]
    assert read([{"prompt": [{"role": "user", "content": parts}]}])[0].prompt[0]["content"] == parts  # type: ignore[index, typeddict-item]


@pytest.mark.parametrize("row", [
    {"prompt": "p", "chosen": USER, "rejected": [CALL]},
    {"chosen": [*USER, CALL, *USER], "rejected": [*USER, CALL, {"role": "user", "content": "and?"}]},
])  # fmt: skip
def test_an_answer_is_never_the_users(row: dict[str, Any]) -> None:
    with pytest.raises(FeedbackError, match=r"record 1: field '(chosen|rejected)'.*assistant"):
        read([row])


def test_pictures_come_as_files_tensors_pil_and_bytes() -> None:
    picture, data = Image.new("RGB", (4, 3), (255, 0, 0)), io.BytesIO()
    picture.save(data, "PNG")
    found = read([{"prompt": "p", "chosen": {"bytes": data.getvalue(), "path": None}, "rejected": picture}])[0]
    assert isinstance(found, Comparison)
    assert picture_key(found.chosen) == picture_key(found.rejected)
    assert picture_key(found.chosen) != picture_key(Image.new("RGB", (4, 3)))
    assert read([{"prompt": "p", "completion": {"bytes": None, "path": "a.png"}}])[0].completion == "a.png"  # type: ignore[union-attr]
    with pytest.raises(FeedbackError, match="no picture"):
        read([{"prompt": "p", "completion": {"bytes": b"GIF87a", "path": None}}])


DAMAGED = {
    "scores.jsonl": (b'{"prompt": "q", "completions": ["a", "b"], "scores": "12"}', "line 1: field 'scores'"),
    "word.jsonl": (b'{"prompt": "q", "completion": "a", "aspects": {"x": "high"}}', "line 1: field 'aspects.x'"),
    "columns.jsonl": (b'{"prompt": "q", "columns": "x"}', "line 1: field 'columns'"),
    "null.json": (b"null", "holds null"),
    "digits.jsonl": (b'{"prompt": "q", "n": ' + b"9" * 5000 + b"}", "line 1"),
    "huge.jsonl": (b'{"prompt": "q", "n": ' + b"9" * 400 + b"}", "line 1: field 'n'"),
    "half.jsonl": (b'{"prompt": "\\ud800"}', "line 1: field 'prompt'"),
    "latin.jsonl": ('{"prompt": "é"}'.encode("latin-1"), "line 1: field 'prompt'.*UTF-8"),
    "deep.jsonl": (b'{"prompt": "q", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1.*nested"),
    "nested.jsonl": (b'{"prompt": "q", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "line 1: field 'x'.*nested"),
    "long.csv": (b"prompt,answer\np," + b"x" * 200_000 + b"\n", "line 2.*limit"),
    "comma.csv": (b"prompt,chosen,rejected\np,yes, of course,no\n", "line 2.*4 cells for 3 columns"),
    "quote.csv": (b'prompt,chosen,rejected\n"p,a,b\np,a,b\n', "line 3.*quote"),
    "twice.csv": (b"prompt,prompt\na,b\n", "two columns are called 'prompt'"),
    "wide.csv": ("prompt,chosen,rejected\np,a,b\n".encode("utf-16"), "UTF-16"),
    "cut.jsonl.gz": (gzip.compress(b'{"prompt": "p"}\n' * 9999)[:-40], "cut short after line"),
    "flip.jsonl.gz": (gzip.compress(b'{"prompt": "p"}\n')[:12] + b"\xff\xff\xff\xff", "damaged"),
    "lines.json": (b'{"prompt": "p"}\n{"prompt": "q"}\n', "line 2.*jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_damaged_file_is_one_line_that_says_where(name: str, skip_bad: bool, tmp_path: Path) -> None:
    data, where = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FeedbackError, match=f"{name}.*{where}") as error:
        read(tmp_path / name, skip_bad=skip_bad)
    assert "\n" not in str(error.value)


def test_cells_hold_text_where_text_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    with path.open("w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["prompt", "chosen", "rejected", "tests"])
        table.writerow(["p", '{"city": 3}', "true", "[1, 2]"])
        table.writerow([json.dumps(USER), "[1, 2]", json.dumps([CALL]), ""])
    a, b = read(path)
    assert (a.chosen, a.rejected, a.columns) == ('{"city": 3}', "true", {"tests": [1, 2]})  # type: ignore[union-attr]
    assert (b.prompt, b.chosen, b.rejected, b.columns) == (USER, "[1, 2]", CALL, {"tests": None})  # type: ignore[union-attr]


def test_a_table_of_several_shapes_gives_each_row_its_own() -> None:
    rows = [{**GOOD, "completion": None, "label": None},
            {"prompt": "p", "chosen": None, "rejected": None, "completion": "a", "label": 0}]  # fmt: skip
    assert [type(r).__name__ for r in read(rows)] == ["Comparison", "Label"]
    with pytest.raises(FeedbackError, match="field 'chosen'"):
        read([{"prompt": "p", "chosen": None, "rejected": None}])


def test_rows_of_is_one_door_for_everything(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a", "x": 1}\n{"prompt": "b", "y": 2}\n')
    wanted = [Task(prompt="a", columns={"x": 1, "y": None}), Task(prompt="b", columns={"x": None, "y": 2})]
    assert rows_of(str(path)) == wanted
    assert rows_of(json.loads(line) for line in path.read_text().splitlines()) == wanted
    assert (
        rows_of(datasets.Dataset.from_list([{"prompt": "a", "x": 1, "y": None}, {"prompt": "b", "x": None, "y": 2}]))
        == wanted
    )
    assert columns_of([*wanted, "a prompt"]) == {"x": [1, None, None], "y": [None, 2, None]}
    assert rows_of(["a", USER]) == ["a", USER]
    mine = object()
    assert rows_of([mine]) == [mine]
    for odd, said in ((USER, "one conversation"), ([None], "record 1"), ([{"prompt": 3}], "record 1: field 'prompt'"),
                      ({"train": []}, "train"), (7, "int"), ("nothing.jsonl", "no file")):  # fmt: skip
        with pytest.raises(FeedbackError, match=said):
            rows_of(odd)
    with pytest.raises(ConfigError, match="limit"):
        read(wanted, limit=0)


OBJECTS: list[Any] = [
    None, True, 7, 10**400, math.nan, "", "\ud800", b"bytes", {"bytes": b"x", "path": None}, np.float64("nan"), np.array([1.0, 2.0]), torch.zeros(2, 2),
    decimal.Decimal("sNaN"), datetime.datetime(2020, 1, 1), 3 + 4j, object(), {1: 2}, (1, 2), {"a"}, [[]], [None], {"role": "user"}, [{"role": "assistant"}],
    [{"type": "image"}], {"a": None},
]  # fmt: skip
SHAPES: list[dict[str, Any]] = [
    {**GOOD, "margin": 1.5, "aspects": {"x": 1.0}}, {"chosen": [*USER, CALL], "rejected": [*USER, CALL]}, {"prompt": USER, "completion": CALL, "tools": TOOLS},
    {"prompt": "p", "completions": ["a", "b"], "ranks": [2, 1], "columns": {"k": 1}}, {"prompt": "p", "completion": "a", "label": True, "annotator": 3},
    {"instruction": "p", "completions": [{"response": "a", "overall_score": 2.0}, {"response": "b", "annotations": {"x": {"Rating": "4"}}}]},
    {"prompt": "p", "response": "a", "helpfulness": 3}, {"messages": [*USER, CALL], "context": {"a": 1}, "provenance": {"tries": 2}},
]  # fmt: skip


def test_any_object_anywhere_in_a_row_is_read_or_refused_in_one_line() -> None:
    refused: list[AccordError] = []
    for seed in range(3000):
        rng = random.Random(seed)
        row = copy.deepcopy(rng.choice(SHAPES))
        inside: Any = row
        while True:  # down to somewhere
            key = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            if not (isinstance(inside[key], dict | list) and inside[key]) or rng.random() < 0.4:
                break
            inside = inside[key]
        inside[key] = copy.deepcopy(rng.choice(OBJECTS))
        try:
            for record in [*read([row]), *rows_of([row])]:
                prompt_key(record.prompt)
        except AccordError as error:
            refused.append(error)
    assert 500 < len(refused) < 2900
    assert all(isinstance(e, FeedbackError) and "\n" not in str(e) for e in refused)
