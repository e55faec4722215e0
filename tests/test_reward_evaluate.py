"""accord reward evaluate, as a user meets it: whatever the reward is, it is told what the data say, and the words are those of the page."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from test_head_training import ANSWERS, trained

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


def test_without_a_page_the_figures_are_said_and_where_the_page_is_to_be_had(
    mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", f"{mine}:plain", SAID, tmp_path, "--probes=0") == 0
    said = capsys.readouterr()
    assert all(f"\n{name}: " in said.out for name in ("calibration error", "temperature", "verdicts that contradict it however sure it is"))  # fmt: skip
    assert "--out FOLDER" in said.err


def test_people_of_whom_nothing_is_known_are_told_from_newcomers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [{"prompt": f"what is {k} plus 2 ?", "chosen": ANSWERS[(k + i) % 2], "rejected": ANSWERS[1 - (k + i) % 2], "annotator": f"who-{i}"}
              for i in range(12) for k in range(6)]  # fmt: skip
    assert trained(tmp_path, people, "pal", "--known_by=3", "--training.epochs=1") == 0
    card = (tmp_path / "run/model/README.md").read_text()
    after = json.loads((tmp_path / "run/result.json").read_text())["after"]
    assert card.startswith("# PAL\n")
    assert "as new people, each known by 3 others of their verdicts" in card
    assert "as somebody of whom nothing is known |" in card
    assert f"| pairs ranked rightly | {100 * after['value']:.1f} % [" in card, "the card says what the call has said"
    model = str(tmp_path / "run/model")
    call("evaluate", model, people, tmp_path, "--probes=0", "--card")
    assert ", as somebody of whom nothing is known.\n" in (tmp_path / "run/model/README.md").read_text()
    capsys.readouterr()
    found = evaluated(model, people, tmp_path, capsys, "--known_by=3")
    assert found["accuracy"]["clusters"] == 12


def test_a_reward_that_knows_nobody_has_no_newcomers(
    mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", f"{mine}:plain", SAID, tmp_path, "--known_by=3") == 2
    assert "tell people apart" in capsys.readouterr().err


def test_the_people_of_an_embedded_world_are_data(
    mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data=letters/people", "--limit=24", "--probes=0", "--json"]
    assert main(["reward", "evaluate", f"--reward={mine}:plain", *data]) == 0
    assert json.loads(capsys.readouterr().out)["by"]["annotator"]


def test_contrast_sets_of_a_file_are_asked_about(mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sums, topics = [("3 plus 4", "7"), ("3 plus 5", "8")], 160
    sets = [{"prompt": f"{i}: what is {asked[0]} ?", "chosen": f"{i}: {asked[1]}", "rejected": f"{i}: {other[1]}"}
            for i in range(topics) for asked, other in (sums, sums[::-1])]  # fmt: skip
    (tmp_path / "sets.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sets))
    found = evaluated(f"{mine}:plain", SAID, tmp_path, capsys, f"--contrast={tmp_path / 'sets.jsonl'}")
    assert (found["contrast"]["request"]["value"], found["contrast"]["request"]["clusters"]) == (0.5, topics)
    assert [f["name"] for f in found["faults"]] == ["request"], "it doesn't read what was asked"
    (tmp_path / "sets.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sets[:3]))
    assert call("evaluate", f"{mine}:plain", SAID, tmp_path, f"--contrast={tmp_path / 'sets.jsonl'}") == 2
    assert "no counterpart beside it" in capsys.readouterr().err


def test_ratings_as_helpsteer_publishes_them_are_pairs_of_what_is_asked_for(
    mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rated = [{"prompt": f"what is {i} ?", "response": "so " * n, "helpfulness": n, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 4 - n}
             for i in range(8) for n in (1, 3)]  # fmt: skip
    for aspect, share in (("helpfulness", 1), ("verbosity", 0)):
        found = evaluated(f"{mine}:plain", rated, tmp_path, capsys, f"--aspect={aspect}")["accuracy"]
        assert (found["value"], found["n"]) == (share, 8)
