"""accord personalize on tiny pipelines of each family, end to end."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_pipelines
from accord.cli import main
from accord.evaluation.pictures import copying, diversity, save_picture
from accord.policies.diffusion import as_picture

ENCODER = "def colours(images):\n    return images.mean((2, 3)) - 0.4\n"


def face(path: Path) -> Path:
    save_picture(torch.rand(3, 40, 30, generator=torch.Generator().manual_seed(0)), path / "face.png")
    (path / "encoder.py").write_text(ENCODER)
    return path / "face.png"


def call(path: Path, folder: Path, **more: str) -> int:
    options = {"reference": str(face(path)), "model": str(folder), "out": str(path / "run"), "encoder": f"{path / 'encoder.py'}:colours",
               "training.steps": "2", "training.progress": "false", "sampling.steps": "3", "last": "2", **more}  # fmt: skip
    return main(["personalize", *(x for k, v in options.items() for x in (f"--{k}", v))])


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_a_users_pipeline_learns_and_diffusers_opens_what_it_learned(family: str, tmp_path: Path, capsys: Any) -> None:
    model = tiny_pipelines.folder(family, str(tmp_path / "models"))
    assert call(tmp_path, model) == 0
    assert "report" in capsys.readouterr().out
    run = tmp_path / "run"
    pipe = tiny_pipelines.pipeline(family)
    pipe.load_lora_weights(str(run / "policy"))
    assert pipe.get_list_adapters()
    page = (run / "report.html").read_text()
    assert page.count("data:image/png") == 2 * 12 + 1
    assert "copy of the reference" in page
    # A second run does not write over the first.
    assert call(tmp_path, model) == 1
    assert "already holds a run" in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path: Path, capsys: Any) -> None:
    model = tiny_pipelines.folder("sd", str(tmp_path / "models"))
    (tmp_path / "scenes.txt").write_text("{} at sea\na cat\n")
    (tmp_path / "text.png").write_text("no picture")
    for more, said in (
        ({"reference": str(tmp_path / "no.png")}, "can't read the picture"),
        ({"reference": str(tmp_path / "text.png")}, "it is no picture file"),
        ({"model": str(tmp_path / "nowhere")}, "no model_index.json"),
        ({"prompts": str(tmp_path / "scenes.txt")}, "scenes.txt:2 has no {}"),
        ({"encoder": "eyes"}, "neither dlib nor file.py:function"),
        ({"last": "7"}, "the last 7 of 3 steps"),
    ):
        assert call(tmp_path, model, **more) != 0
        error = capsys.readouterr().err.strip().splitlines()
        assert said in error[-1]
        assert len(error) == 1 or "loading" in error[0]


def test_saved_pictures_are_read_back(tmp_path: Path) -> None:
    image = torch.rand(3, 9, 7)
    save_picture(image, tmp_path / "a.png")
    clip = torch.stack([torch.full((3, 4, 6), v / 16) for v in range(17)])
    save_picture(clip, tmp_path / "clip.png")
    strip = as_picture(tmp_path / "clip.png")
    assert strip.shape == (3, 4, 6 * 8), "eight frames in a row, the first and the last among them"
    assert strip[0, 0, ::6].tolist() == pytest.approx(
        [round(255 * round(i * 16 / 7) / 16) / 255 for i in range(8)], abs=1e-6
    )
    assert torch.allclose(as_picture(tmp_path / "a.png"), image, atol=0.5 / 255 + 1e-6)


def test_surface_measures_of_pictures() -> None:
    images = torch.rand(4, 3, 8, 8)
    assert diversity(images[:1].expand(4, -1, -1, -1)) == pytest.approx(0, abs=1e-6)
    assert diversity(images) > 0.01
    clips = images[:, None].expand(-1, 3, -1, -1, -1)
    assert diversity(clips) == pytest.approx(diversity(images), rel=1e-5), "of still clips, that of their pictures"
    assert copying(clips, clips[0]) == pytest.approx(copying(images, images[0]), rel=1e-5)
    assert copying(images[:1], images[0]) == pytest.approx(1, abs=1e-5)
    assert copying(1 - images[:1], images[0]) == pytest.approx(-1, abs=1e-5)
    assert copying(0.3 + 0.5 * images[:1], images[0]) == pytest.approx(1, abs=1e-5)
