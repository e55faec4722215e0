"""ID-Aligner's identity reward: how like the reference the face in a picture is (arXiv 2404.15449, section 3.2)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import RewardError
from accord.feedback import picture_key, pictures_of
from accord.identity.faces import FaceEncoder, reference_vector, similarity
from accord.policies.diffusion import as_picture
from accord.rewards import Scores


class IdentityConsistency:
    """``cos(E_gen, E_ref)``; a picture without a face does not count. The gradient enters the pixels, not boxes or reference.

    Args:
        encoder: finds and describes faces. reference: identity vector of the person (see `reference_vector`), or None
            to read it for each sample from the column `identity`, or off the picture (or vector) that its prompt shows.
    """

    def __init__(self, encoder: FaceEncoder, reference: Float[Tensor, "d"] | None = None) -> None:
        self.encoder, self.reference = encoder, reference
        self._known: dict[str, Tensor] = {}

    def __call__(self, *, prompts: Any, completions: Any, identity: Any = None, **columns: Any) -> Scores:
        images = completions if isinstance(completions, Tensor) else torch.stack(list(completions))
        # First of all: what the encoder is moved to must not change once there is a graph.
        wanted = self.reference if self.reference is not None else self._wanted(prompts, identity, images.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder.differentiable):
            vectors, found = self.encoder(images)
            values = similarity(vectors, wanted.detach().to(vectors).expand_as(vectors))
        return Scores(values.masked_fill(~found, 0.0), found)

    def _wanted(self, prompts: Any, identity: Any, device: torch.device) -> Float[Tensor, "n d"]:
        if identity is not None:
            return torch.stack([torch.as_tensor(v, device=device) for v in identity])
        shown = [pictures_of(p) for p in prompts]
        if not all(shown):
            raise RewardError("whose identity? give a reference, a column `identity`, or prompts that show a picture")
        given = [p[0] if isinstance(p[0], Tensor) and p[0].ndim == 1 else self._vector(p, device) for p in shown]
        return torch.stack([v.to(device) for v in given])

    def _vector(self, pictures: list[Any], device: torch.device) -> Float[Tensor, "d"]:
        key = "\x1e".join(picture_key(p) for p in pictures)
        if key not in self._known:
            self._known[key] = reference_vector(self.encoder, [as_picture(p).to(device) for p in pictures])
        return self._known[key]
