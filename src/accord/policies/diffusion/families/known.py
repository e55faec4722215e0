"""The families that there are."""

from typing import Any

from accord.errors import ModelError
from accord.policies.diffusion.families.family import Family, Size
from accord.policies.diffusion.families.flux import Flux
from accord.policies.diffusion.families.flux2 import Flux2Klein
from accord.policies.diffusion.families.pixart import PixArt
from accord.policies.diffusion.families.qwen_image import QwenImage
from accord.policies.diffusion.families.sana import Sana
from accord.policies.diffusion.families.stable_diffusion import StableDiffusion
from accord.policies.diffusion.families.stable_diffusion_3 import StableDiffusion3
from accord.policies.diffusion.families.stable_diffusion_xl import StableDiffusionXL
from accord.policies.diffusion.families.wan import Wan
from accord.policies.diffusion.families.z_image import ZImage

FAMILIES: tuple[type[Family], ...] = (
    StableDiffusion,
    StableDiffusionXL,
    StableDiffusion3,
    Flux,
    Flux2Klein,
    QwenImage,
    ZImage,
    Sana,
    PixArt,
    Wan,
)


def family_of(pipeline: Any, size: Size = None) -> Family:
    """The family of a pipeline, with this pipeline's parts.

    Args:
        size: of its pictures; see `Family`.

    Raises:
        ModelError: it is of no family here. ConfigError: it has no pictures of this size.
    """
    return kind_of_family(*(c.__name__ for c in type(pipeline).__mro__))(pipeline, size)


def kind_of_family(*names: str) -> type[Family]:
    """The family of a pipeline class, by its name (and those of the classes that it builds on).

    Raises:
        ModelError: it is of no family here.
    """
    for kind in FAMILIES:
        if not kind.pipelines.isdisjoint(names):
            return kind
    opened = ", ".join(kind.name for kind in FAMILIES)
    raise ModelError(f"{names[0]} is not one of the pipelines that can be trained here, those of text to picture of {opened}")  # fmt: skip
