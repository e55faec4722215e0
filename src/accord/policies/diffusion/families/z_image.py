"""Z-Image (arXiv 2511.22699), Turbo among it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Latent
from accord.policies.diffusion.families.shifted import Shifted


class ZImage(Shifted):
    """A flow of one stream over words and pixels, that counts time and speaks the other way round: from noise at 0, from noise to
    picture. Its pipeline calls the strength of guidance one less than others do."""

    name = "Z-Image"
    pipelines = frozenset({"ZImagePipeline"})

    @property
    def natural(self) -> tuple[int, ...]:
        return (1024, 1024)

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> Condition:
        device = self.pipeline.text_encoder.device
        (words,), _ = self.pipeline.encode_prompt([text], device, do_classifier_free_guidance=False)
        return Condition({"words": words[None], "there": torch.ones(1, len(words), dtype=torch.bool, device=device)})

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        words, there = (condition.tensors[name] for name in ("words", "there"))
        return {"x": list(x[:, :, None]), "t": (1000 - t) / 1000,
                "cap_feats": [w[: int(n)] for w, n in zip(words, there.sum(1).tolist(), strict=True)]}  # fmt: skip

    def heard(self, output: Any) -> Latent:
        return -torch.stack([x.float() for x in output])[:, :, 0]
