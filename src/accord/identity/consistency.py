"""ID-Aligner's identity reward: how like the reference the face in a picture is (arXiv 2404.15449, section 3.2)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.identity.faces import FaceEncoder, similarity
from accord.rewards import Scores


class IdentityConsistency:
    """``cos(E_gen, E_ref)``; a picture without a face does not count. The gradient enters the pixels, not boxes or reference.

    Args:
        encoder: finds and describes faces. reference: identity vector of the person (see `reference_vector`), or None
            to read it for each sample from the column `identity`.
    """

    def __init__(self, encoder: FaceEncoder, reference: Float[Tensor, "d"] | None = None) -> None:
        self.encoder, self.reference = encoder, reference

    def __call__(self, *, prompts: Any, completions: Any, identity: Any = None, **columns: Any) -> Scores:
        images = completions if isinstance(completions, Tensor) else torch.stack(list(completions))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder.differentiable):
            vectors, found = self.encoder(images)
            wanted = (
                self.reference if self.reference is not None else torch.stack([torch.as_tensor(v) for v in identity])
            )
            values = similarity(vectors, wanted.detach().to(vectors).expand_as(vectors))
        return Scores(values.masked_fill(~found, 0.0), found)
