"""Picture generators: diffusers pipelines as policies."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.policies.diffusion.actions import Denoising, Draw, LatentActions
    from accord.policies.diffusion.adapter import ImageAdapter
    from accord.policies.diffusion.attention import AttentionHook, Capture, hook, hooked
    from accord.policies.diffusion.condition import Condition
    from accord.policies.diffusion.denoising import Blend, Hold, Moment, StepHook, denoise
    from accord.policies.diffusion.encoded import EncodedOnce
    from accord.policies.diffusion.inversion import InvertedDraw, invert, noised, renoise
    from accord.policies.diffusion.pictures import Autoencoder, as_clip, as_picture, fitted, square
    from accord.policies.diffusion.policy import DiffusionPolicy
    from accord.policies.diffusion.schedule import Schedule
else:
    lazy(__name__)

__all__ = ["AttentionHook", "Autoencoder", "Blend", "Capture", "Condition", "Denoising", "DiffusionPolicy", "Draw", "EncodedOnce", "Hold", "ImageAdapter", "InvertedDraw",
           "LatentActions", "Moment", "Schedule", "StepHook", "as_clip", "as_picture", "denoise", "fitted", "hook", "hooked", "invert", "noised", "renoise", "square"]  # fmt: skip
