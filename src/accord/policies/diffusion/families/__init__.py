"""Families of pipelines, a file each: what a policy must know of one beside its parts."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.policies.diffusion.families.family import Family, Size
    from accord.policies.diffusion.families.flux import Flux
    from accord.policies.diffusion.families.flux2 import Flux2Klein
    from accord.policies.diffusion.families.known import FAMILIES, family_of, kind_of_family
    from accord.policies.diffusion.families.patches import packed, unpacked
    from accord.policies.diffusion.families.pixart import PixArt
    from accord.policies.diffusion.families.qwen_image import QwenImage
    from accord.policies.diffusion.families.sana import Sana
    from accord.policies.diffusion.families.stable_diffusion import StableDiffusion
    from accord.policies.diffusion.families.stable_diffusion_3 import StableDiffusion3
    from accord.policies.diffusion.families.stable_diffusion_xl import StableDiffusionXL
    from accord.policies.diffusion.families.wan import Wan
    from accord.policies.diffusion.families.z_image import ZImage
else:
    lazy(__name__)

__all__ = ["FAMILIES", "Family", "Flux", "Flux2Klein", "PixArt", "QwenImage", "Sana", "Size", "StableDiffusion", "StableDiffusion3",
           "StableDiffusionXL", "Wan", "ZImage", "family_of", "kind_of_family", "packed", "unpacked"]  # fmt: skip
