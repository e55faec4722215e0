"""PickScore: which picture people picked for a prompt."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from transformers import CLIPModel

from accord.policies.placement import Device, Dtype
from accord.rewards.pictures.towers import Compared


class PickScore(Compared):
    """``exp(s) cos(E_picture, E_prompt)``, a CLIP-H trained on the choices of Pick-a-Pic's users; its values lie about 20, and their
    differences are log-odds of being picked (Kirstain et al. 2023, arXiv 2305.01569).

    Published as yuvalkirstain/PickScore_v1 (its code: MIT), read with the processor of laion/CLIP-ViT-H-14-laion2B-s32B-b79K (MIT).

    Args:
        source: hub name or folder of the weights. processor: of tokeniser and preparation of pictures.
        device, dtype: where and in which precision it computes.

    Raises:
        ModelError: there is no such network.
    """

    def __init__(self, source: str = "yuvalkirstain/PickScore_v1", processor: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", *,
                 device: Device = "auto", dtype: Dtype = "auto") -> None:  # fmt: skip
        super().__init__(CLIPModel, source, processor, device, dtype)

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        return self.network.scale * self.network(images, texts)
