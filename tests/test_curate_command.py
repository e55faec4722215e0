"""accord curate as a command: what can't work is refused before anything is read or opened, and what nobody reads is refused too."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.cli import main
from accord.cli.voters import Electorate
from accord.feedback import Comparison, original, read, usable
from accord.rewards import HeadReward, Relabelling, SentenceEncoder, SentenceFeatures, Synthesis, Voting, curate
from accord.rewards.reward import score_pairs
from conftest import tiny_policy

Said = pytest.CaptureFixture[str]


def told(n: int) -> list[Comparison]:
    return [Comparison(prompt=f"p{i}", chosen=f"good thing {i}", rejected=f"bad thing {i}") for i in range(n)]


def written(path: Path, n: int, *more: str) -> str:
    path.write_text(
        "".join(f"{line}\n" for line in (*(p.model_dump_json(exclude_defaults=True) for p in told(n)), *more))
    )
    return str(path)


def refused(said: Said, *options: str) -> str:
    """The one line with which a call is refused."""
    said.readouterr()
    assert main(["curate", *options]) in (1, 2)
    line = said.readouterr().err
    assert line.count("\n") == 1
    assert "Traceback" not in line
    return line


def test_what_can_not_work_is_refused_before_data_are_read_and_models_opened(tmp_path: Path, capsys: Said) -> None:
    bad = tmp_path / "head"  # whoever opens it fails
    bad.mkdir()
    (bad / "reward.json").write_text("no JSON")
    data, out = (
        written(tmp_path / "p.jsonl", 3, "no JSON"),
        tmp_path / "c.jsonl",
    )  # and so does whoever reads to the end
    opens, reads = ["--data", data, "--judge", str(bad)], ["--data", data, "--voters", '["encoder:nonsense"]']
    assert "reward.json" in refused(capsys, *opens, "--out", str(out))
    assert "can't load an encoder from nonsense" in refused(capsys, *reads, "--out", str(out))
    assert "ends in .jsonl" in refused(capsys, *opens, "--out", str(tmp_path / "c.csv"))
    assert "workers must be at least 0" in refused(capsys, *opens, "--out", str(out), "--workers=-1")
    assert "workers compute on CPUs" in refused(capsys, *opens, "--out", str(out), "--workers=2", "--device=cuda")
    assert "no file at" in refused(capsys, "--data", "./none.jsonl", "--judge", str(bad), "--out", str(out))
    out.write_text("mine")
    assert "there already" in refused(capsys, *opens, "--out", str(out))
    out.unlink()
    (tmp_path / "c.account.json").write_text("{}")
    assert "go on with --resume" in refused(capsys, *opens, "--out", str(out))


@pytest.mark.parametrize(
    ("options", "names"),
    [(["--sure=0.5"], "sure"), (["--heads=3"], "heads"), (["--margin=false"], "margin"), (["--answers=8", "--gap=1"], "answers, gap"),
     (["--sampling.temperature=1"], "sampling"), (["--tests", '["t.jsonl"]', "--clean=false"], "tests"),
     (["--voters", '["peers:words"]', "--heads=3"], "heads")],
)  # fmt: skip
def test_options_that_nobody_reads_are_refused(options: list[str], names: str, tmp_path: Path, capsys: Said) -> None:
    data = written(tmp_path / "p.jsonl", 3)
    assert f"nobody reads {names}: that takes" in refused(
        capsys, "--data", data, "--out", str(tmp_path / "c.jsonl"), *options
    )


def test_what_was_left_out_is_said_and_stands_in_the_account(tmp_path: Path, capsys: Said) -> None:
    data = written(tmp_path / "p.jsonl", 5, '{"prompt": "p", "chosen": "a"}', '{"prompt": "p", "completion": "c"}')
    assert main(["curate", "--data", data, "--out", str(tmp_path / "c.jsonl"), "--skip_bad", "true"]) == 0
    printed = capsys.readouterr()
    assert "left out 1 record (examples compare nothing), 1 record (malformed, the first: " in printed.err
    assert len(json.loads(printed.out)["reading: left out"]) == 2


def test_going_on_with_other_weights_under_the_same_name_is_refused(tmp_path: Path, capsys: Said) -> None:
    features, model = SentenceFeatures(SentenceEncoder("minilm")), tmp_path / "rm"
    HeadReward(features, hidden=0, seed=1).save(model)
    call = ["--data", written(tmp_path / "p.jsonl", 5), "--out", str(tmp_path / "c.jsonl"), "--judge", str(model)]
    assert main(["curate", *call]) == 0
    assert main(["curate", *call, "--resume=true"]) == 0
    for file in model.iterdir():
        file.unlink()
    HeadReward(features, hidden=0, seed=2).save(model)
    assert "began with another weights" in refused(capsys, *call, "--resume=true")


def test_a_reward_of_curated_pairs_is_measured_by_the_labels_that_people_gave(tmp_path: Path, capsys: Said) -> None:
    """Voters and a judge have turned all of them round: who learns that disagrees with everybody."""

    def bad(*, completions: Any, **x: Any) -> list[float]:
        return [3.0 * c.startswith("bad") for c in completions]

    def longest(*, completions: Any, **x: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    curators = [
        Voting([bad]),
        Relabelling(bad),
        Synthesis(tiny_policy(), longest, answers=2, sampling={"max_new_tokens": 4}),
    ]
    curate(told(60), tmp_path / "c.jsonl", curators)  # type: ignore[arg-type]
    mended = [p for p in usable(list(read(tmp_path / "c.jsonl"))) if p.provenance.status == "flipped"]  # type: ignore[var-annotated]
    assert len(mended) == 60
    assert [original(p) for p in mended] == told(60)
    call = ["reward", "train", "--model", "encoder:minilm", "--data", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "run"), "--test=0.3",
            "--curated=true", "--probes=0", "--training.epochs=4", "--training.lr=0.01", "--training.progress=false"]  # fmt: skip
    assert main(call) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["after"]["accuracy"] < 0.1
    left = {row["why"] for row in result["intake"]["left_out"]}
    assert "made by curation, judged by nobody" in left
    assert result["test_pairs"] < 30


def test_voters_are_opened_at_once_and_taught_anew_by_every_sample() -> None:
    opened: list[Any] = []

    def opens(spec: Any) -> Any:
        opened.append(spec)
        return spec

    who = Electorate(["a", "encoder:words", "peers:words"], opens, 2, 0.1, 0, "cpu")
    assert opened == ["a"]
    one, two, other = who(told(12)), who(told(12)), who([p.flipped() for p in told(12)])
    assert len(one) == 4
    said = [[score_pairs(v, told(12)).values for v in some[1:]] for some in (one, two, other)]
    assert all(torch.equal(a, b) for a, b in zip(said[0], said[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(said[0], said[2], strict=True))
