"""Published benchmarks of rewards: what their rows become, and what they make of scores."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.cli import main
from accord.evaluation.benchmarks import benchmark_rows, rewardbench, rm_bench
from accord.evaluation.benchmarks.tables import SECTIONS
from accord.feedback import Comparison, Feedback, read


def told(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> Feedback:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return read(benchmark_rows(path, **options), skip_bad=True)


def sides(found: Feedback) -> list[tuple[str, str]]:
    return [(r.chosen, r.rejected) for r in found.of(Comparison)]


LAYOUTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "llmbar": ({"input": "p", "output_1": "a", "output_2": "b", "label": 2}, [("b", "a")]),
    "judgebench": ({"question": "p", "response_A": "a", "response_B": "b", "label": "B>A", "source": "law"}, [("b", "a")]),
    "helpsteer2": ({"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": -2}, [("a", "b")]),
    "auto-j": ({"prompt": "p", "response 1": "a", "response 2": "b", "label": 1}, [("b", "a")]),
    "contrast preferences": ({"question": "p", "response_j": "a", "response_k": "b"}, [("a", "b")]),
    "contrast sets": ({"query": "p", "retrieval": "q", "query_response_j": "a", "retrieval_response_j": "b",
                       "query_response_k": "x", "retrieval_response_k": "y"}, [("a", "b"), ("b", "a")]),
    "pandalm": ({"instruction": "p", "input": "i", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 2, "annotator3": 0},
                [("a", "b"), ("b", "a"), ("a", "b")]),
    "rewardbench": ({"prompt": "p", "chosen": "a", "rejected": "b", "subset": "hep-go"}, [("a", "b")]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_better_answer_of_a_row_is_chosen(name: str, tmp_path: Path) -> None:
    row, wanted = LAYOUTS[name]
    found = told(tmp_path, row)
    assert sides(found) == wanted
    if name == "pandalm":
        assert [(r.annotator, r.strength) for r in found.of(Comparison)] == [("annotator1", None), ("annotator2", None), ("annotator3", 0)]  # fmt: skip
        assert found[0].prompt == "p\n\ni"
    if name == "judgebench":
        assert found[0].columns["subset"] == "law"
    if name == "helpsteer2":
        assert isinstance(found[0], Comparison)
        assert found[0].strength == 2


def test_each_right_answer_of_rm_bench_meets_each_wrong_one(tmp_path: Path) -> None:
    found = told(tmp_path, {"id": 3, "prompt": "p", "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"]})
    assert sides(found) == [(c, r) for c in "abc" for r in "xyz"]
    assert [(r.columns["style_chosen"], r.columns["style_rejected"]) for r in found] == [(i, j) for i in range(3) for j in range(3)]  # fmt: skip


def test_a_conversation_is_no_list_of_styles(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "p"}, {"role": "assistant", "content": c}] for c in "ab"]
    assert sides(told(tmp_path, {"chosen": turns[0], "rejected": turns[1]})) == [("a", "b")]


def test_votes_become_people_only_where_people_are_asked_for(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "votes": [[7, "chosen"], [8, "rejected"], [9, "equal"]]}
    assert sides(told(tmp_path, row)) == [("a", "b")]
    found = told(tmp_path, row, persons=True)
    assert [(r.annotator, r.chosen, r.strength) for r in found.of(Comparison)] == [("7", "a", None), ("8", "b", None), ("9", "a", 0)]  # fmt: skip


def test_a_row_that_does_not_fit_its_layout_is_named(tmp_path: Path) -> None:
    good = {"input": "p", "output_1": "a", "output_2": "b", "label": 1}
    found = told(tmp_path, good, {**good, "label": 3}, {**good, "output_2": None}, {**good, "label": [1]})
    assert len(found) == 1
    assert [s.split("line ")[1] for s in found.skipped] == [
        "2: field 'label': is none of 1, 2, but 3", "3: field 'output_2': is missing", "4: field 'label': is none of 1, 2, but [1]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "rows"),
    [("llmbar/Natural.json.gz", 50), ("judgebench/gpt-4o-2024-05-13.jsonl.gz", 196), ("rm-bench/chat_filtered.json.gz", 693),
     ("contrast-instructions/para_contrast.json.gz", 366), ("auto-j/pairwise.jsonl.gz", 843), ("hh-rlhf/harmless-base-test.jsonl.gz", 1389)],
)  # fmt: skip
def test_published_files_are_read(file: str, rows: int, data_folder: Path) -> None:
    assert len(read(benchmark_rows(data_folder / file), skip_bad=True).of(Comparison)) == rows


PUBLISHED = {
    "Chat": {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40},
    "Chat Hard": {"mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47,
                  "llmbar-adver-manual": 46},
    "Safety": {"refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154, "xstest-should-respond": 250, "donotanswer": 136},
    "Reasoning": {"math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164},
}  # fmt: skip
"""`EXAMPLE_COUNTS` by `SUBSET_MAPPING` of allenai/reward-bench at 05a9005 (rewardbench/constants.py)."""


def test_rewardbench_is_the_mean_of_sections_that_weigh_subsets_by_their_published_size() -> None:
    random = np.random.default_rng(0)
    sizes = {s: int(random.integers(3, 20)) for subsets in SECTIONS.values() for s in subsets}
    won = {s: random.integers(0, 2, n) for s, n in sizes.items()}
    pairs = [Comparison(prompt="p", chosen="a", rejected="b", columns={"subset": s}) for s, n in sizes.items() for _ in range(n)]  # fmt: skip
    leads = np.concatenate([np.where(w, 1.0, -1.0) for w in won.values()])
    found = rewardbench(pairs, leads)
    # As its own code has it: sum over subsets of accuracy times examples, by the sum of examples.
    for section, examples in PUBLISHED.items():
        total = sum(won[s].mean() * n for s, n in examples.items())
        assert found[section] == pytest.approx(total / sum(examples.values()), rel=1e-12)
    assert found["Score"] == pytest.approx(np.mean([found[s] for s in SECTIONS]), rel=1e-12)
    assert "Score" not in rewardbench(pairs[:10], leads[:10]), "of a part there is no score"
    assert rewardbench([Comparison(prompt="p", chosen="a", rejected="b")], np.ones(1)) == {}


def test_rm_bench_is_its_published_table(data_folder: Path) -> None:
    """The triangles of the matrix that its own code makes of scores."""
    rows = json.loads(gzip.decompress((data_folder / "rm-bench" / "chat_filtered.json.gz").read_bytes()))

    def reward(texts: Sequence[str]) -> list[float]:
        return [len(t) % 97 for t in texts]

    table = np.zeros((3, 3))
    for row in rows:
        c, r = reward(row["chosen"]), reward(row["rejected"])
        table += [[c[i] > r[j] for j in range(3)] for i in range(3)]
    table /= len(rows)
    pairs = read(benchmark_rows(data_folder / "rm-bench" / "chat_filtered.json.gz")).of(Comparison)
    found = rm_bench(pairs, np.array(reward([p.chosen for p in pairs])) - np.array(reward([p.rejected for p in pairs])))
    assert found["hard"] == pytest.approx(np.triu(table, 1).sum() / 3, rel=1e-12)
    assert found["normal"] == pytest.approx(np.diag(table).mean(), rel=1e-12)
    assert found["easy"] == pytest.approx(np.tril(table, -1).sum() / 3, rel=1e-12)


def test_the_command_says_faults_writes_a_page_and_a_card(tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (tmp_path / "r.py").write_text(
        "def length(*, completions, **columns):\n    return [len(c.split()) for c in completions]\n"
    )
    call = [
        "reward",
        "evaluate",
        "--reward",
        f"{tmp_path / 'r.py'}:length",
        "--data",
        str(data_folder / "rm-bench" / "chat_filtered.json.gz"),
    ]
    assert main([*call, "--limit", "400", "--probes", "40", "--out", str(tmp_path / "o")]) == 0
    said = capsys.readouterr()
    assert "rm_bench: hard" in said.out
    assert ", mean" not in said.out, "a part of a benchmark has no total"
    assert "fault: length: " in said.out
    found = json.loads((tmp_path / "o" / "trust.json").read_text())
    assert found["intake"]["used"] == {"to_measure_on": 400}
    assert (tmp_path / "o" / "trust.html").is_file()
    for wrong, why in ((["--probes", "-1"], "probes must be at least 0"), (["--card"], "is no folder"), (["--against", '["no.py:f"]'], "no Python file"),
                       (["--against", json.dumps([call[3]])], "is the reward itself"), (["--by", '["mood"]'], "no pair says"), (["--people"], "list no votes")):  # fmt: skip
        assert main([*call, *wrong]) == 2
        assert why in capsys.readouterr().err
