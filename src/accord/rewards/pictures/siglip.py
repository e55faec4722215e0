"""SigLIP: the odds that a text describes a picture."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from transformers import SiglipModel

from accord.policies.placement import Device, Dtype
from accord.rewards.pictures.towers import Compared


class SigLIP(Compared):
    """``exp(t) cos(E_picture, E_prompt) + b``: log-odds that prompt and picture belong together (Zhai et al. 2023, arXiv 2303.15343).

    Prompts are read in lower case, as it was trained.

    Published as google/siglip-so400m-patch14-384, google/siglip2-base-patch16-256 and others (Apache 2.0). SigLIP 2 of free
    sizes (naflex) is another class and is not read.

    Args:
        source: hub name or folder; the tokenisers of the first SigLIP want the packages sentencepiece and protobuf.
        device, dtype: where and in which precision it computes.

    Raises:
        ModelError: there is no such network.
    """

    def __init__(
        self, source: str = "google/siglip2-base-patch16-256", *, device: Device = "auto", dtype: Dtype = "auto"
    ) -> None:
        super().__init__(SiglipModel, source, None, device, dtype)

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        return self.network.scale * self.network(images, [t.lower() for t in texts]) + self.network.bias
