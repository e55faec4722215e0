"""Clips on the command line: drawn to folders of frames, read from them, scored, trained on, shown in reports."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.cli import main
from accord.cli.clips import save_clip, with_frames
from accord.errors import ModelError
from accord.evaluation.pictures import save_picture
from accord.feedback import Example, read
from accord.policies.diffusion import DiffusionPolicy, as_clip, as_picture
from tiny_families import folder

SIDES = [3, 16, 16]
REWARD = json.dumps({"Framewise": {"reward": "tiny_pipelines:brightness"}})
PROMPTS = ["a red cat", "a cat", "a person with a hat", "a blue hat"]


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder("wan", str(tmp_path_factory.mktemp("pipelines")))


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """A command that ends well; what it prints."""
    assert main([*map(str, words), "--device=cpu"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def frames_of(folder: Path) -> Tensor:
    return as_clip(sorted(folder.iterdir()))


def test_what_is_drawn_lies_in_folders_of_frames_from_which_it_is_scored(
    wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--policy", wan, "--prompt", "a cat", "--size", SIDES, "--n=2", "--sampling.steps=2", "--seed=4"]
    run(capsys, "sample", *asked, "--out", tmp_path / "out")
    p = DiffusionPolicy.load(wan, device="cpu", size=SIDES)
    drawn = p.sample(["a cat"], 2, {"steps": 2}, seed=4).completions
    found = [frames_of(tmp_path / "out" / f"000{i}") for i in range(2)]
    assert all(torch.allclose(a, b, atol=0.5 / 255 + 1e-6) for a, b in zip(found, drawn, strict=True))
    strip = as_picture(tmp_path / "out" / "0001.png")
    assert torch.equal(strip, torch.cat(list(found[1]), -1)), "its frames in a row, to look at"

    monkeypatch.chdir(tmp_path / "out")  # where the names of samples.jsonl lie
    run(capsys, "reward", "score", "--reward", REWARD, "--data", "samples.jsonl", "--out", "scores.jsonl")
    scores = [json.loads(line)["reward"] for line in Path("scores.jsonl").read_text().splitlines()]
    assert scores == pytest.approx([float(c.mean()) for c in found], abs=1e-5)
    assert scores[0] != pytest.approx(scores[1], abs=1e-4)


def test_a_run_on_clips_is_measured_and_shown(wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = jsonl(tmp_path / "prompts.jsonl", [{"prompt": p} for p in PROMPTS]), tmp_path / "run"
    run(capsys, "align", "grpo", "--policy", wan, "--data", data, "--reward", REWARD, "--size", SIDES, "--lora=2", "--out", out,
        "--test=0.5", "--group_size=2", "--sampling.steps=2", "--sampling.eta=1.0", "--training.steps=1", "--training.batch_size=1")  # fmt: skip
    _, last = (json.loads(line) for line in (out / "evaluations.jsonl").read_text().splitlines())
    shown = [json.loads(line) for line in (out / "samples" / "000001.jsonl").read_text().splitlines()]
    strips = [as_picture(out / "samples" / row["completion"]) for row in shown]
    assert {tuple(s.shape) for s in strips} == {(3, 16, 48)}
    assert last["reward/proxy"] == pytest.approx(float(torch.stack(strips).mean()), abs=1e-2)
    page = (out / "report.html").read_text()
    assert len(re.findall(r'<figure class="wide">\s*<img class="sample"', page)) == len(shown), (
        "a row for each pair of strips"
    )
    assert page.count("data:image/png;base64,") == 2 * len(shown)
    DiffusionPolicy.load(wan, device="cpu", size=SIDES).pipeline.load_lora_weights(out / "policy")


def test_clips_to_learn_from_are_named_by_their_folders(
    wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "sample", "--policy", wan, "--prompt", "a cat", "--size", SIDES, "--n=4", "--sampling.steps=1", "--out", tmp_path / "clips")  # fmt: skip
    named = [str(tmp_path / "clips" / f"000{i}") for i in range(4)]
    trained = ["--policy", wan, "--size", SIDES, "--lora=2", "--training.steps=1", "--training.batch_size=1", "--test=0.5"]  # fmt: skip
    shown = jsonl(tmp_path / "shown.jsonl", [{"prompt": p, "completion": c} for p, c in zip(PROMPTS, named, strict=True)])  # fmt: skip
    run(capsys, "align", "sft", *trained, "--data", shown, "--out", tmp_path / "sft")
    pairs = jsonl(tmp_path / "pairs.jsonl", [{"prompt": p, "chosen": named[i], "rejected": named[i - 1]} for i, p in enumerate(PROMPTS)])  # fmt: skip
    run(capsys, "align", "diffusion-dpo", *trained, "--data", pairs, "--out", tmp_path / "dpo")
    losses = [json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[0])["loss"] for run in ("sft", "dpo")]  # fmt: skip
    assert losses[0] > 0
    assert losses[1] == pytest.approx(0.6931, abs=1e-3), "log 2: the policy is still the reference"
    assert [r.completion for r in read(shown)] == named, "which the library reads as they stand"  # type: ignore[union-attr]


def test_names_count_from_the_file_that_says_them_and_frames_go_by_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for t in range(12):  # as ffmpeg names them: 1.png … 12.png
        save_picture(torch.full((3, 4, 4), t / 12), tmp_path / "shown" / "clip" / f"{t + 1}.png")
    data = jsonl(tmp_path / "shown" / "samples.jsonl", [{"prompt": "a cat", "completion": "clip"}])
    read_back = with_frames(read(data).records[0], str(data)).completion  # type: ignore[union-attr]
    assert [Path(f).stem for f in read_back] == [str(t + 1) for t in range(12)]
    assert torch.allclose(as_clip(read_back)[:, 0, 0, 0], torch.arange(12) / 12, atol=1 / 255)
    jsonl(data, [{"prompt": "a cat", "completion": "clip"}, {"prompt": "a cat", "completion": "nothere"}])
    assert main(["reward", "score", "--reward", REWARD, "--data", str(data), "--out", str(tmp_path / "s.jsonl")]) != 0
    assert "'nothere' is no folder of frames" in capsys.readouterr().err


def test_a_clip_over_a_longer_one_leaves_none_of_its_frames(tmp_path: Path) -> None:
    save_clip(torch.ones(5, 3, 4, 4), tmp_path / "0000")
    save_clip(torch.zeros(3, 3, 4, 4), tmp_path / "0000")
    assert torch.equal(frames_of(tmp_path / "0000"), torch.zeros(3, 3, 4, 4))
    assert [p.name for p in tmp_path.iterdir()] == ["0000"]


def test_a_record_that_names_no_clip_is_named_before_anything_trains(
    wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        save_clip(torch.rand(3, 3, 16, 16), tmp_path / f"{i}")
    named = jsonl(tmp_path / "data.jsonl", [{"prompt": p, "completion": c} for p, c in zip(PROMPTS, ["0", "1", "gone", "2"], strict=True)])  # fmt: skip
    asked = ["align", "sft", "--policy", wan, "--data", named, "--size", SIDES, "--lora=2", "--test=0.5", "--device=cpu",
             "--training.steps=1", "--training.batch_size=1"]  # fmt: skip
    assert main([*map(str, asked), "--out", str(tmp_path / "run")]) == 2
    assert "line 3: 'gone' is no folder of frames" in capsys.readouterr().err
    run(capsys, *asked[:-2], "--skip_bad=true", "--training.batch_size=1", "--out", tmp_path / "run")


@pytest.mark.parametrize("name", ["nothere", Path("nothere")])
def test_a_name_in_the_place_of_a_clip_is_said_whole(name: Any) -> None:
    with pytest.raises(ModelError, match="not the name 'nothere': list the files"):
        as_clip(name)


@pytest.mark.parametrize("text", ["word " * 60, "字" * 90, "nul\0", "", "a/" * 600])
def test_any_text_is_asked_whether_it_is_a_clip(text: str) -> None:
    record = Example(prompt="p", completion=text)
    assert with_frames(record) is record
