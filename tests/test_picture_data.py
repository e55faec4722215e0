"""Pictures as people keep them for training: folders with captions, Pick-a-Pic's pairs, rows of `datasets`."""

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from accord import read
from accord.errors import FeedbackError
from accord.feedback import Comparison, Example
from accord.policies.diffusion import as_picture

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def encoded(name: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), COLOURS[name]).save(out, format="PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in COLOURS:
        (tmp_path / f"{name}.png").write_bytes(encoded(name))
    return tmp_path


def mean(picture: object) -> list[float]:
    return as_picture(picture).mean((1, 2)).tolist()


def test_a_folder_with_captions_beside_its_pictures(folder: Path) -> None:
    for name in COLOURS:
        (folder / f"{name}.txt").write_text(f"a {name} square\n", encoding="utf-8-sig")
    rows = read(folder)
    assert [type(r) for r in rows] == [Example, Example]
    assert {r.prompt: mean(r.completion) for r in rows} == {"a red square": [1, 0, 0], "a blue square": [0, 0, 1]}  # type: ignore[union-attr]
    (folder / "red.txt").unlink()
    with pytest.raises(FeedbackError, match=r"red.png: field 'caption': is missing: write it into red.txt"):
        read(folder)
    assert len(read(folder, skip_bad=True)) == 1


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_folder_with_a_table_of_its_pictures(kind: str, folder: Path) -> None:
    rows = [{"file_name": f"{n}.png", "text": f"a {n} square", "artist": n[0]} for n in COLOURS]
    table = "file_name,text,artist\n" + "".join(",".join(r.values()) + "\n" for r in rows)
    (folder / f"metadata.{kind}").write_text("".join(json.dumps(r) + "\n" for r in rows) if kind == "jsonl" else table)
    found = read(folder)
    assert [(r.prompt, mean(r.completion)[0], r.columns) for r in found] == [  # type: ignore[union-attr]
        ("a red square", 1, {"artist": "r"}), ("a blue square", 0, {"artist": "b"}),
    ]  # fmt: skip


@pytest.mark.parametrize(("share", "first"), [(1.0, [1, 0, 0]), (0.0, [0, 0, 1])])
def test_pick_a_pics_pairs(share: float, first: list[float]) -> None:
    row = {
        "jpg_0": encoded("red"),
        "jpg_1": encoded("blue"),
        "label_0": share,
        "label_1": 1 - share,
        "caption": "a square",
        "uid": "x",
    }
    (pair,) = read([row])
    assert isinstance(pair, Comparison)
    assert (pair.prompt, mean(pair.chosen), pair.columns) == ("a square", first, {"uid": "x"})
    with pytest.raises(FeedbackError, match=r"label_0.*a tie says nothing"):
        read([{**row, "label_0": 0.5}])
    with pytest.raises(FeedbackError, match=r"jpg_1.*no picture"):
        read([{**row, "jpg_1": b"torn"}])


def test_rows_with_a_picture_and_its_caption() -> None:
    tensor = torch.zeros(3, 8, 8)
    rows = read(
        [{"image": Image.new("RGB", (8, 8), COLOURS["red"]), "text": "red"}, {"image": tensor, "caption": "black"}]
    )
    assert [(r.prompt, mean(r.completion)[0]) for r in rows] == [("red", 1), ("black", 0)]  # type: ignore[union-attr]


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match="without pictures"):
        read(tmp_path)
