"""LAION's aesthetics: how beautiful people would call a picture, whatever was asked for."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPModel

from accord.policies.placement import Device, Dtype, device_of
from accord.rewards.pictures.files import linears, placed, pretrained, tensors_of
from accord.rewards.pictures.preprocessing import Preprocessing
from accord.rewards.pictures.reward import PictureReward


class Aesthetics(PictureReward):
    """A head on CLIP-L's view of the picture, trained on ratings from 1 to 10 (Schuhmann et al. 2022, arXiv 2210.08402).

    Published with LAION's improved aesthetic predictor (Apache 2.0), on the hub as trl-lib/ddpo-aesthetic-predictor
    (aesthetic-model.pth); the linear head of the first one (sa_0_4_vit_l_14_linear.pth, MIT) is read as well.

    Args:
        source: hub name, folder, or the head's file itself. encoder: hub name or folder of its CLIP.
        device, dtype: where and in which precision that computes; the head does in single.

    Raises:
        ModelError: there are no such weights.
    """

    network: Any

    def __init__(self, source: str = "trl-lib/ddpo-aesthetic-predictor", encoder: str = "openai/clip-vit-large-patch14", *,
                 device: Device = "auto", dtype: Dtype = "auto") -> None:  # fmt: skip
        weights = tensors_of(source, "aesthetic-model.pth")
        clip = pretrained(CLIPModel, encoder)
        clip.text_model = None  # nobody asks it
        head = linears(weights, "" if "weight" in weights else "layers.", source)
        network = nn.ModuleDict({"clip": placed(clip, device, dtype), "head": head})
        super().__init__(network.to(device_of(device)), Preprocessing.load(encoder))

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        clip = self.network["clip"]
        seen = clip.get_image_features(images.to(clip.dtype)).pooler_output
        return self.network["head"](normalize(seen.float(), dim=-1))[:, 0]
