"""Pictures as people have them: phones' photos, every mode and size, tensors of every scale; and saving what was learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from accord.errors import ModelError, RunError
from accord.policies.diffusion import as_picture, square
from tiny_pipelines import picture, policy

RED, CLEAR = (255, 0, 0), (0, 0, 255, 0)


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photo_is_read_upright_however_the_camera_was_held(turn: int, tmp_path: Path) -> None:
    scene = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8))
    # What a camera stores, so that turned as EXIF says it is the scene.
    stored = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
              5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270]}  # fmt: skip
    image = scene
    for step in stored.get(turn, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / "photo.png", exif=exif)
    assert torch.equal(as_picture(tmp_path / "photo.png"), pixels(scene))


def test_sixteen_bits_keep_their_scale(tmp_path: Path) -> None:
    grey = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.fromarray(grey).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        assert torch.allclose(as_picture(tmp_path / name), torch.tensor([0, 1, 128, 255]).expand(3, 1, 4) / 255)


@pytest.mark.parametrize(("mode", "colour", "seen"), [
    ("1", 1, (1, 1, 1)), ("L", 51, (0.2, 0.2, 0.2)), ("RGB", RED, (1, 0, 0)), ("CMYK", (0, 255, 255, 0), (1, 0, 0)),
    ("LA", (0, 0), (1, 1, 1)), ("LA", (0, 255), (0, 0, 0)), ("RGBA", CLEAR, (1, 1, 1)), ("RGBA", (255, 0, 0, 51), (1, 0.8, 0.8)),
    ("F", 0.25, (0.25, 0.25, 0.25)), ("I", 13107, (0.2, 0.2, 0.2)),
])  # fmt: skip
def test_every_mode_shows_what_it_means_and_what_is_transparent_shows_white(
    mode: str, colour: Any, seen: Any, tmp_path: Path
) -> None:
    image = Image.new(mode, (4, 3), colour)
    wanted = torch.tensor(seen).float()[:, None, None].expand(3, 3, 4)
    assert torch.allclose(as_picture(image), wanted, atol=0.5 / 255)
    if mode not in ("F", "I", "CMYK"):
        image.save(tmp_path / "a.png")
        assert torch.allclose(as_picture(str(tmp_path / "a.png")), wanted, atol=0.5 / 255)


def test_palettes_with_a_transparent_colour_show_white_there(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    assert as_picture(tmp_path / "a.png").permute(1, 2, 0).tolist() == [[[1, 0, 0], [1, 1, 1]]]


def test_bytes_images_and_files_are_the_same_picture(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (5, 7, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    forms = [
        image,
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        torch.from_numpy(np.array(image)).permute(2, 0, 1),
        pixels(image),
    ]
    assert all(torch.equal(as_picture(f), pixels(image)) for f in forms)
    assert as_picture(pixels(image).double()).dtype == torch.float32


@pytest.mark.parametrize(("wrong", "said"), [
    (torch.rand(3, 4, 4) * 255, "divide|x / 255"), (torch.rand(3, 4, 4) * 2 - 1, r"\(x \+ 1\) / 2"),
    (torch.full((3, 4, 4), float("nan")), "lie in"), (torch.rand(4, 4, 4), r"\[3, height, width\], not \[4, 4, 4\]"),
    (torch.rand(4, 4, 3), "not"), (torch.rand(4, 4), "not"), (torch.rand(1, 3, 4, 4), "not"), (torch.zeros(3, 0, 4), "not"),
    (torch.ones(3, 4, 4, dtype=torch.long), "uint8"), (7, "not a int"), (b"bytes", "not a bytes"),
])  # fmt: skip
def test_a_tensor_that_is_no_picture_is_one_line(wrong: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        as_picture(wrong)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_as_one_picture_are_one_line_that_names_them(
    tmp_path: Path, monkeypatch: Any
) -> None:
    whole = tmp_path / "whole.png"
    Image.new("RGB", (64, 64), RED).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-40])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("F", (2, 2), 40.0).save(tmp_path / "far.tif")
    for name, said in (("cut.png", "truncated|broken"), ("text.png", "no picture file"), ("empty.jpg", "no picture file"), ("moving.gif", "2 frames"),
                       ("far.tif", "between 0 and 1"), ("gone.png", "No such file"), (".", "directory")):  # fmt: skip
        with pytest.raises(ModelError, match=said) as caught:
            as_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ModelError, match=r"whole\.png.*exceeds"):
        as_picture(whole)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    share=st.floats(0.2, 1),
)
def test_damaged_files_are_pictures_or_one_line(
    kind: str, changes: list[tuple[float, int]], share: float, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("damaged", numbered=True) / "a"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path, format=kind)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[min(int(place * len(data)), len(data) - 1)] = value
    path.write_bytes(data[: int(share * len(data))])
    try:
        found = as_picture(path)
    except ModelError as error:
        found, said = None, str(error)
    assert "\n" not in said if found is None else found.shape[0] == 3 and 0 <= found.min() <= found.max() <= 1


def test_other_sizes_become_the_middle_square_at_the_generators_size() -> None:
    assert square(x := picture(0), 16) is x
    wide = torch.zeros(3, 20, 60)
    wide[:, :, 20:40] = 0.7
    assert torch.allclose(square(wide, 16), torch.full((3, 16, 16), 0.7), atol=1e-6)
    fine = (torch.arange(64) % 2).float().expand(3, 64, 64)  # stripes finer than can be shown are grey, not stripes
    assert float((square(fine, 16) - 0.5)[..., 2:-2].abs().max()) < 0.05
    p, large = (
        policy("sd"),
        torch.nn.functional.interpolate(picture(1)[None], scale_factor=3, mode="bicubic")[0].clamp(0, 1),
    )
    mixed = p.pictures.latents([picture(0), large, p.noise(1, 0)[0]])
    assert torch.allclose(mixed[:1], p.pictures.encode(picture(0)[None]), atol=1e-5)
    assert torch.allclose(mixed[1:2], p.pictures.encode(square(large, 16)[None]), atol=1e-5)
    assert torch.equal(mixed[2], p.noise(1, 0)[0])


def test_saving_makes_its_folder_and_says_truly_why_it_cannot(tmp_path: Path) -> None:
    p = policy("sd", lora=2)
    p.add_image_adapter(lambda x: (x.mean((2, 3)), torch.ones(len(x), dtype=torch.bool)), 3, tokens=2)
    p.save(tmp_path / "a" / "new")
    assert sorted(f.name for f in (tmp_path / "a" / "new").iterdir()) == [
        "image_adapter.safetensors",
        "pytorch_lora_weights.safetensors",
    ]
    (tmp_path / "file").write_text("in the way")
    for made in (p, policy("sd")):
        with pytest.raises(RunError, match=r"can't write to .*file.*(exists|directory)") as caught:
            made.save(tmp_path / "file" / "below")
        assert "room" not in str(caught.value)
