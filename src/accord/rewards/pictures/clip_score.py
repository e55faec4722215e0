"""CLIP score: how well a picture fits its prompt, as CLIP sees it."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from transformers import CLIPModel

from accord.policies.placement import Device, Dtype
from accord.rewards.pictures.towers import Compared


class CLIPScore(Compared):
    """``2.5 cos(E_picture, E_prompt)`` (Hessel et al. 2021, arXiv 2104.08718), not cut off at 0, where its gradient would end.

    The prompt is read as it is; their code puts "A photo depicts" before it.

    Published as openai/clip-vit-large-patch14 (Radford et al. 2021, arXiv 2103.00020; its code: MIT). Any `CLIPModel` will do.

    Args:
        source: hub name or folder. device, dtype: where and in which precision it computes.

    Raises:
        ModelError: there is no such network.
    """

    def __init__(
        self, source: str = "openai/clip-vit-large-patch14", *, device: Device = "auto", dtype: Dtype = "auto"
    ) -> None:
        super().__init__(CLIPModel, source, None, device, dtype)

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        return 2.5 * self.network(images, texts)
