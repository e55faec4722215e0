"""Generators behind one face: sample, log-probs of what was sampled, likelihood of what was given, freeze."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.policies.acting import Acting, Episode
    from accord.policies.base import Policy, Prompt, Rollouts, Sampling
    from accord.policies.control import ControlPolicy
    from accord.policies.diffusion import Denoising, DiffusionPolicy
    from accord.policies.engines import VLLM, Engine, SGLang
    from accord.policies.frozen import FrozenPolicy
    from accord.policies.language import LanguagePolicy
    from accord.policies.tree import Branch, TokenTree
else:
    lazy(__name__)

__all__ = [
    "VLLM",
    "Acting",
    "Branch",
    "ControlPolicy",
    "Denoising",
    "DiffusionPolicy",
    "Engine",
    "Episode",
    "FrozenPolicy",
    "LanguagePolicy",
    "Policy",
    "Prompt",
    "Rollouts",
    "SGLang",
    "Sampling",
    "TokenTree",
]
