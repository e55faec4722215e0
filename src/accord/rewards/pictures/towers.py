"""Networks that compare a picture with a text: a tower for each, and the cosine of what they say (CLIP, SigLIP)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from accord.policies.placement import Device, Dtype
from accord.rewards.pictures.files import placed, pretrained, tokenizer_of
from accord.rewards.pictures.preprocessing import Preprocessing
from accord.rewards.pictures.reward import PictureReward, Words


class Towers(nn.Module):
    """`CLIPModel` or `SiglipModel`, with its tokeniser.

    Attributes:
        scale, bias: with which its cosines become log-odds; numbers, as half precision would round them.
    """

    def __init__(self, model: Any, tokenizer: Any, device: Device, dtype: Dtype) -> None:
        super().__init__()
        self.scale = float(model.logit_scale.detach().float().exp())
        self.bias = float(model.logit_bias.detach().float()) if hasattr(model, "logit_bias") else 0.0
        self.words = Words(tokenizer, model.config.text_config.max_position_embeddings)
        self.model = placed(model, device, dtype)

    def forward(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        """Cosine of each picture and its text."""
        return (self.pictures(images) * self.texts(texts)).sum(-1)

    def pictures(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return normalize(self.model.get_image_features(images.to(self.model.dtype)).pooler_output.float(), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Each text once, however often it comes. Padding is read as in training: CLIP never looks at it, SigLIP always."""
        several = list(dict.fromkeys(texts))
        ids = self.words(several, self.model.device)["input_ids"]
        vectors = normalize(self.model.get_text_features(ids).pooler_output.float(), dim=-1)
        return vectors[torch.tensor([several.index(t) for t in texts], device=vectors.device)]


class Compared(PictureReward):
    """A reward that is the cosine of two towers, or made of it."""

    network: Towers

    def __init__(self, kind: Any, source: str, processor: str | None, device: Device, dtype: Dtype) -> None:
        """Load both, the tokeniser and the way of preparing pictures from `processor`, if they lie elsewhere."""
        beside = processor or source
        towers = Towers(pretrained(kind, source), tokenizer_of(beside), device, dtype)
        super().__init__(towers, Preprocessing.load(beside), towers.words)
