"""People drawn from parameters, a tiny diffusers pipeline that draws them, proxies to be hacked and a gold that is not."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.worlds.portraits.generator import pipeline, policy
    from accord.worlds.portraits.people import ATTRIBUTES, HELD_OUT, IDENTITY, People, faces
    from accord.worlds.portraits.prompts import PHRASES, fulfilled, prompts, read_prompt
    from accord.worlds.portraits.proxies import Looks, PortraitFaces, PromptReader, Structure
    from accord.worlds.portraits.render import render
else:
    lazy(__name__)

__all__ = [
    "ATTRIBUTES",
    "HELD_OUT",
    "IDENTITY",
    "PHRASES",
    "Looks",
    "People",
    "PortraitFaces",
    "PromptReader",
    "Structure",
    "faces",
    "fulfilled",
    "pipeline",
    "policy",
    "prompts",
    "read_prompt",
    "render",
]
