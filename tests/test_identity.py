"""Face encoders: crops with gradient, dlib's network against dlib itself, the identity reward."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.errors import ConfigError, ModelError
from accord.identity import (
    CallableEncoder,
    DlibFaceNetwork,
    DlibFaces,
    IdentityConsistency,
    align,
    reference_vector,
    similarity,
)
from accord.identity.dlib_network import read_tensors

DATA = Path(os.environ.get("ACCORD_DATA", Path(__file__).parents[2] / "shared" / "data"))
SQUARE = torch.tensor([(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)])


def orl(person: int, number: int) -> Tensor:
    """A real face of the person at this place among those there are, [3, h, w]."""
    people = sorted((DATA / "orl-faces").glob("s*/"))
    if not people:
        pytest.skip(f"no real faces at {DATA / 'orl-faces'}: set ACCORD_DATA")
    path = people[person] / f"{number}.pgm"
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1).float() / 255


def picture(n: int = 1, size: int = 12) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_crop_at_its_own_place_is_the_picture() -> None:
    x = picture(2)
    points = (SQUARE * 12 - 0.0).expand(2, -1, -1) - 0.0
    # Pixel i of the crop has its centre at i + 0.5 of the template's scale; landmarks are pixel indices.
    assert torch.allclose(align(x, points, SQUARE, 12), x, atol=1e-5)


def test_a_moved_face_gives_the_same_crop() -> None:
    x = torch.zeros(1, 3, 20, 20)
    x[..., 4:12, 4:12] = picture(1, 8)
    moved = torch.roll(x, (3, 5), (-2, -1))
    points = SQUARE[None] * 8 + 4.0
    assert torch.allclose(
        align(x, points, SQUARE, 8), align(moved, points + torch.tensor([5.0, 3.0]), SQUARE, 8), atol=1e-5
    )


def test_gradient_stays_inside_the_crop_and_out_of_the_points() -> None:
    x = picture(1, 20).requires_grad_()
    points = (SQUARE[None] * 6 + 5.0).requires_grad_()
    align(x, points, SQUARE, 6).square().sum().backward()
    assert points.grad is None
    touched = x.grad.abs().sum((0, 1)) > 0  # type: ignore[union-attr]
    assert touched[5:11, 5:11].all()
    assert not touched[:4].any()
    assert not touched[:, 13:].any()


def double(images: Tensor) -> Tensor:
    return images.flatten(1) - 0.5


def test_identity_reward_is_the_cosine_and_its_gradient_is_that_of_the_pixels() -> None:
    x = picture(3).requires_grad_()
    encoder = CallableEncoder(double, differentiable=True)
    own = IdentityConsistency(encoder, double(x.detach())[0])
    assert float(own(prompts=None, completions=x[:1]).values) == pytest.approx(1.0, abs=1e-6)
    assert float(
        IdentityConsistency(encoder, -7 * double(x.detach())[0])(prompts=None, completions=x[:1]).values
    ) == pytest.approx(-1.0, abs=1e-6)
    (grad,) = torch.autograd.grad(own(prompts=None, completions=x).values.sum(), x)
    step = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    up, down = (
        float(own(prompts=None, completions=x.detach() + e * step).values.double().sum()) for e in (1e-3, -1e-3)
    )
    assert float((grad * step).sum()) == pytest.approx((up - down) / 2e-3, rel=1e-2)


def test_pictures_without_a_face_count_for_nothing() -> None:
    x = picture(2).requires_grad_()
    encoder = CallableEncoder(lambda images: (double(images), torch.tensor([True, False])), differentiable=True)
    said = IdentityConsistency(encoder, double(picture())[0])(prompts=None, completions=x)
    assert said.valid.tolist() == [True, False]
    assert float(said.values[1]) == 0
    (grad,) = torch.autograd.grad(said.values.sum(), x)
    assert not grad[1].any()
    assert grad[0].any()
    nobody = CallableEncoder(lambda images: (double(images), torch.zeros(len(images), dtype=torch.bool)))
    with pytest.raises(ConfigError, match="no face was found"):
        reference_vector(nobody, picture(2))


def test_an_encoder_without_gradient_says_so_by_its_values() -> None:
    x = picture(1).requires_grad_()
    assert not IdentityConsistency(CallableEncoder(double), double(x.detach())[0])(
        prompts=None, completions=x
    ).values.requires_grad


def network() -> DlibFaceNetwork:
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("package face-recognition-models is absent")
    return DlibFaceNetwork.load()


def test_every_weight_of_the_file_is_in_the_network() -> None:
    net = network()
    from accord.identity.dlib_network import models_folder

    tensors = read_tensors(models_folder() / "dlib_face_recognition_resnet_model_v1.dat")
    assert len(tensors) == 59
    assert sum(t.numel() for t in tensors) == sum(p.numel() for p in net.parameters())
    with pytest.raises(ModelError, match="doesn't hold dlib's face network"):
        DlibFaceNetwork.load(__file__)


def test_descriptors_and_crops_are_those_of_dlib() -> None:
    dlib = pytest.importorskip("dlib")
    net = network()
    from accord.identity.dlib_network import models_folder

    theirs: Any = dlib.face_recognition_model_v1(str(models_folder() / "dlib_face_recognition_resnet_model_v1.dat"))
    faces = DlibFaces()
    checked = 0
    for person in range(1, 7):
        image = orl(person, 1)
        image = torch.nn.functional.interpolate(image[None], scale_factor=3, mode="bicubic").clamp(0, 1)
        points = faces.points(image[0])
        if points is None:
            continue
        pixels = (image[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        box = max(faces._detector(pixels, 1), key=lambda b: b.area())
        chip = dlib.get_face_chip(pixels, faces._landmarks(pixels, box), size=150, padding=0.25)
        chip_tensor = torch.from_numpy(chip).permute(2, 0, 1)[None].float() / 255
        own = torch.tensor(list(theirs.compute_face_descriptor(chip)))
        assert torch.allclose(net(chip_tensor)[0], own, atol=1e-5)
        ours = faces.align(image)
        assert bool(ours.found[0])
        assert (
            float((net(ours.crops)[0] - own).norm()) < 0.1
        )  # dlib samples from an image pyramid; 0.6 is another person
        checked += 1
    assert checked >= 4


def test_network_gradient_against_finite_differences() -> None:
    net = network().double()
    x = torch.nn.functional.interpolate(orl(1, 1)[None], size=(150, 150), mode="bilinear").double().requires_grad_()
    weights = torch.randn(128, generator=torch.Generator().manual_seed(0)).double()
    (grad,) = torch.autograd.grad((net(x)[0] * weights).sum(), x)
    step = grad / grad.norm()
    with torch.no_grad():
        up, down = (float((net(x + e * step)[0] * weights).sum()) for e in (1e-4, -1e-4))
    assert float(grad.norm()) == pytest.approx((up - down) / 2e-4, rel=1e-3)


def test_the_same_person_is_nearer_than_another_one() -> None:
    net = network()
    crops = torch.stack(
        [
            torch.nn.functional.interpolate(orl(p, k)[None], size=(150, 150), mode="bilinear")[0]
            for p in (1, 2, 3)
            for k in (1, 2)
        ]
    )
    vectors = net(crops)
    distance = torch.cdist(vectors, vectors)
    same = torch.stack([distance[2 * i, 2 * i + 1] for i in range(3)])
    other = torch.stack([distance[2 * i, 2 * j] for i in range(3) for j in range(3) if i != j])
    assert float(same.max()) < float(other.min())
    assert float(similarity(vectors[0], vectors[1])) > float(similarity(vectors[0], vectors[2]))
