"""Readers name what is wrong; shapes of the field are told apart; splits keep a prompt on one side."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import FeedbackError
from accord.feedback import Comparison, Example, Label, Ranking, Rating, Task, comparisons_of, read, stream

USER = [{"role": "user", "content": "hi"}]
SHAPES = {
    "TRL explicit": ({"prompt": "p", "chosen": "a", "rejected": "b"}, Comparison(prompt="p", chosen="a", rejected="b")),
    "TRL implicit": (
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        Comparison(prompt="The sky is ", chosen="blue.", rejected="green."),
    ),
    "TRL conversational": (
        {
            "prompt": USER,
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        },
        Comparison(prompt=USER, chosen="a", rejected="b"),
    ),
    "TRL conversational, implicit": (
        {
            "chosen": [*USER, {"role": "assistant", "content": "a"}],
            "rejected": [*USER, {"role": "assistant", "content": "b"}],
        },
        Comparison(prompt=USER, chosen="a", rejected="b"),
    ),
    "Anthropic HH": (
        {"chosen": "\n\nHuman: hi\n\nAssistant: a", "rejected": "\n\nHuman: hi\n\nAssistant: b"},
        Comparison(prompt=USER, chosen="a", rejected="b"),
    ),
    "ShareGPT ranking": (
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        Comparison(prompt=USER, chosen="a", rejected="b"),
    ),
    "scored pair": (
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 8.5, "score_rejected": 8.0},
        Comparison(
            prompt="p", chosen="a", rejected="b", strength=0.5, columns={"score_chosen": 8.5, "score_rejected": 8.0}
        ),
    ),
    "unpaired": ({"prompt": "p", "completion": "a", "label": False}, Label(prompt="p", completion="a", label=False)),
    "HelpSteer": (
        {"prompt": "p", "response": "a", "helpfulness": 3, "verbosity": 1},
        Rating(prompt="p", completion="a", aspects={"helpfulness": 3, "verbosity": 1}),
    ),
    "UltraFeedback": (
        {
            "instruction": "p",
            "completions": [{"response": "a", "overall_score": 2.0}, {"response": "b", "overall_score": 7.5}],
        },
        Ranking(prompt="p", completions=["b", "a"], scores=[7.5, 2.0]),
    ),
    "ranking by ranks": (
        {"prompt": "p", "completions": ["a", "b", "c"], "ranks": [3, 1, 2]},
        Ranking(prompt="p", completions=["b", "c", "a"], scores=[-1, -2, -3]),
    ),
    "messages": ({"messages": [*USER, {"role": "assistant", "content": "a"}]}, Example(prompt=USER, completion="a")),
    "prompt with columns": ({"prompt": "p", "answer": "4"}, Task(prompt="p", columns={"answer": "4"})),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_the_field(shape: str) -> None:
    row, wanted = SHAPES[shape]
    assert read([row])[0] == wanted


def test_formats_give_the_same_records(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": 'a, "b"', "rejected": "c\nd"} for i in range(3)]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (tmp_path / "a.jsonl").write_text(text)
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as f:
        f.write(text)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": rows}))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    wanted = read(rows).records
    for name in ("a.jsonl", "a.jsonl.gz", "a.json", "wrapped.json", "a.parquet", "a.csv"):
        assert read(tmp_path / name).records == wanted, name


def test_a_datasets_object_reads_like_its_rows() -> None:
    import datasets

    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    assert read(datasets.Dataset.from_list(rows)).records == read(rows).records


def test_a_bad_record_is_named_by_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    good = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"})
    path.write_text(f"{good}\n\n{json.dumps({'prompt': 'p', 'chosen': 'a', 'rejected': 3})}\nnot json\n{good}\n")
    with pytest.raises(FeedbackError, match=r"pairs\.jsonl, line 3: field 'rejected'.*skip-bad"):
        read(path)
    kept = read(path, skip_bad=True)
    assert len(kept) == 2
    assert "line 3" in kept.skipped[0]
    assert "line 4" in kept.skipped[1]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"prompt": "p", "chosen": "a"}, "rejected"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt"),
        ({"prompt": "p", "completion": "a", "label": "maybe"}, "label"),
        ({"prompt": "p", "response": "a", "helpfulness": "high"}, "helpfulness"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": [1]}, "scores"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "prompt"),
        ({"text": "?"}, "prompt"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "strength": -1}, "strength"),
    ],
)
def test_the_field_at_fault_is_named(row: dict, field: str) -> None:
    with pytest.raises(FeedbackError, match=f"record 1: field '{field}'"):
        read([row])


def test_missing_and_empty_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.json").write_text("[{")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    for name, what in (
        ("none.jsonl", "no file"),
        ("empty.jsonl", "empty"),
        ("broken.json", "line 1"),
        ("binary.jsonl", "UTF-8"),
        ("bad.parquet", "parquet"),
    ):
        with pytest.raises(FeedbackError, match=what) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [{"question": "q", "good": "a", "bad": "b", "id": 7}]
    said = read(rows, columns={"prompt": "question", "chosen": "good", "rejected": "bad"})[0]
    assert said == Comparison(prompt="q", chosen="a", rejected="b", columns={"id": 7})
    with pytest.raises(FeedbackError, match=r"field 'better'"):
        read(rows, columns={"chosen": "better"})


def test_streaming_reads_no_further_than_asked() -> None:
    def rows():  # type: ignore[no-untyped-def]
        yield {"prompt": "p", "chosen": "a", "rejected": "b"}
        raise AssertionError("read too far")

    assert next(stream(rows())).prompt == "p"


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=60), st.integers(0, 9), st.floats(0.1, 0.9))
def test_splits_never_share_a_prompt_and_do_not_depend_on_the_other_records(
    prompts: list[str], seed: int, share: float
) -> None:
    records = read([{"prompt": p, "chosen": "a", "rejected": "b"} for p in prompts])
    train, test = records.split(share, seed=seed)
    assert not {r.prompt for r in train} & {r.prompt for r in test}
    assert len(train) + len(test) == len(records)
    for r in train:
        assert len(read([r]).split(share, seed=seed)[0]) == 1


def test_split_by_a_column_keeps_its_values_together(data_folder: Path) -> None:
    pairs = read(data_folder / "argument-pairs" / "pairs.jsonl.gz")
    assert len(pairs) == 9128
    train, test = pairs.split(0.25, by="debate")
    assert not {r.columns["debate"] for r in train} & {r.columns["debate"] for r in test}


def test_real_hh_transcripts(data_folder: Path) -> None:
    found = read(data_folder / "hh-rlhf" / "harmless-base-test.jsonl.gz", skip_bad=True)
    assert len(found) + len(found.skipped) == 1394
    assert len(found.skipped) < 10
    for r in found.of(Comparison):
        assert [m["role"] for m in r.prompt][-1] == "user"  # type: ignore[index]
        assert r.chosen != r.prompt


def test_rankings_become_all_pairs_but_ties() -> None:
    r = Ranking(prompt="p", completions=["a", "b", "c"], scores=[2, 1, 1])
    assert [(c.chosen, c.rejected, c.strength) for c in comparisons_of(r)] == [("a", "b", 1), ("a", "c", 1)]
    assert [(c.chosen, c.rejected) for c in comparisons_of(r, neighbours_only=True)] == [("a", "b")]


def test_flipping_twice_is_the_same_pair() -> None:
    said = {"score_chosen": 4, "score_rejected": 2, "rejected": True, "id": 7}
    c = Comparison(prompt="p", chosen="a", rejected="b", aspects={"x": 1.0}, columns=said)
    twice = c.flipped().flipped()
    assert (twice.chosen, twice.rejected, twice.aspects, twice.columns) == (c.chosen, c.rejected, c.aspects, said)
    assert c.flipped().columns == {"score_chosen": 2, "score_rejected": 4, "rejected": True, "id": 7}
    assert c.flipped().provenance.status == "flipped"
