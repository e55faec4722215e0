"""Faces in pictures: where they are (no gradient), cut out upright (with gradient in the pixels), as an identity vector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import affine_grid, cosine_similarity, grid_sample

from accord.errors import ConfigError, ModelError
from accord.identity.dlib_network import SIZE, DlibFaceNetwork, models_folder
from accord.policies.placement import beside

# Where dlib puts the outer and inner corner of the picture's right eye, the same of the left one, and the nose's base: in an unpadded crop.
TEMPLATE = (
    (0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677), (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242), (0.4901123135679, 0.6277975316475),
)  # fmt: skip
PADDING = 0.25


class FaceEncoder(Protocol):
    """Identity vectors of pictures in [0, 1], and in which of them a face was found (vectors of others mean nothing)."""

    @property
    def differentiable(self) -> bool: ...
    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n d"], Bool[Tensor, "n"]]: ...


@dataclass(frozen=True)
class Aligned:
    """Upright crops of one face in each picture, and which pictures have one."""

    crops: Float[Tensor, "n 3 s s"]
    found: Bool[Tensor, "n"]


def align(
    images: Float[Tensor, "n 3 h w"], points: Float[Tensor, "n p 2"], template: Float[Tensor, "p 2"], size: int
) -> Float[Tensor, "n 3 s s"]:
    """Bilinear crops by the best similarity transform from a template (in [0, 1] of the crop) to points (in pixels).

    Gradient flows into the pixels, none into the points.
    """
    n, _, h, w = images.shape
    points = points.detach().to(images)
    turn, shift = _similarity(template.to(images).expand(n, -1, -1) * size, points)
    # From the crop's pixels to the picture's, then both in grid_sample's coordinates from -1 to 1.
    half, scale = size / 2, images.new_tensor([2 / w, 2 / h])
    matrix = turn * half * scale[:, None]
    centre = (turn @ images.new_full((2, 1), half - 0.5))[..., 0] + shift
    offset = (centre + 0.5) * scale - 1
    grid = affine_grid(torch.cat([matrix, offset[..., None]], -1), [n, 3, size, size], align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _similarity(source: Float[Tensor, "n p 2"], target: Float[Tensor, "n p 2"]) -> tuple[Tensor, Tensor]:
    """Rotation with scale and shift that bring source nearest to target in least squares."""
    a, b = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    s, t = source - a, target - b
    size = s.square().sum((1, 2))
    along = (s * t).sum((1, 2)) / size
    across = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / size
    turn = torch.stack([torch.stack([along, -across], -1), torch.stack([across, along], -1)], -2)
    return turn, (b - (turn @ a.mT).mT)[:, 0]


class DlibFaces:
    """The built-in encoder of real faces: dlib finds and aligns the largest face, its network in torch describes it."""

    differentiable = True

    def __init__(self, *, upsample: int = 1) -> None:
        try:
            import dlib
        except ImportError as error:
            raise ModelError("finding real faces needs dlib: pip install dlib-bin face-recognition-models") from error
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(models_folder() / "shape_predictor_5_face_landmarks.dat"))
        self._upsample = upsample

    @cached_property
    def network(self) -> DlibFaceNetwork:
        return DlibFaceNetwork.load()

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 128"], Bool[Tensor, "n"]]:
        aligned = self.align(images.float())
        return beside(self.network, images)(aligned.crops), aligned.found

    def align(self, images: Float[Tensor, "n 3 h w"]) -> Aligned:
        """Crops of 150 pixels with dlib's own alignment; the whole picture's place where there is no face."""
        points = [self.points(image) for image in images]
        found = torch.tensor([p is not None for p in points], device=images.device)
        template = (torch.tensor(TEMPLATE) + PADDING) / (2 * PADDING + 1)
        anywhere = template * torch.tensor([images.shape[-1], images.shape[-2]])
        places = torch.stack([anywhere if p is None else p for p in points])
        return Aligned(align(images, places, template, SIZE), found)

    @torch.no_grad()
    def points(self, image: Float[Tensor, "3 h w"]) -> Float[Tensor, "5 2"] | None:
        """Five landmarks of the largest face in pixels, None without a face."""
        pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        boxes = self._detector(pixels, self._upsample)
        if not len(boxes):
            return None
        shape = self._landmarks(pixels, max(boxes, key=lambda b: b.area()))
        return torch.tensor([(float(p.x), float(p.y)) for p in shape.parts()])


@dataclass(frozen=True)
class CallableEncoder:
    """Any function of pictures as an encoder; every picture counts as having a face unless the function says otherwise.

    A module goes to the device of the pictures that it is given.
    """

    function: Callable[[Any], Any]
    differentiable: bool = False

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor]:
        said = beside(self.function, images)(images)
        vectors, found = said if isinstance(said, tuple) else (said, None)
        if found is None:
            found = torch.ones(len(images), dtype=torch.bool)
        return torch.as_tensor(vectors, device=images.device), torch.as_tensor(found, device=images.device)


def reference_vector(
    encoder: FaceEncoder, references: Float[Tensor, "k 3 h w"] | Sequence[Tensor]
) -> Float[Tensor, "d"]:
    """The mean identity vector of a person's pictures, where they lie.

    Raises:
        ConfigError: no face in any of them.
    """
    vectors, found = [], []
    with torch.no_grad():
        for image in references:
            v, f = encoder(image[None])
            vectors.append(v[0])
            found.append(bool(f[0]))
    if not any(found):
        raise ConfigError(
            f"no face was found in any of the {len(found)} reference pictures: take a larger or more frontal one"
        )
    return torch.stack([v for v, f in zip(vectors, found, strict=True) if f]).mean(0)


def similarity(a: Float[Tensor, "*n d"], b: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
    """Cosine of identity vectors."""
    return cosine_similarity(a.float(), b.float(), dim=-1)
