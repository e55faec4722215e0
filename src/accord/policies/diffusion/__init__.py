"""Diffusion and flow models behind the face of a policy."""

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.policy import Denoising, DiffusionPolicy, Draw, LatentActions, as_picture
from accord.policies.diffusion.schedule import Schedule

__all__ = ["Condition", "Denoising", "DiffusionPolicy", "Draw", "LatentActions", "Schedule", "as_picture"]
