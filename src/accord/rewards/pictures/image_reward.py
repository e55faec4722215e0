"""ImageReward: how well people would rate a picture for its prompt, by a text encoder that looks at it."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from accord.engine.run import read_json
from accord.policies.placement import Device, Dtype, device_of
from accord.rewards.pictures.files import file_of, linears, opened, placed, tensors_of, tokenizer_of, with_weights
from accord.rewards.pictures.preprocessing import Preprocessing
from accord.rewards.pictures.reward import PictureReward, Words

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of its scores on the data that it was published with."""
TOKENS = 35

NAMES = (
    ("cls_token", "embeddings.class_embedding"), ("pos_embed", "embeddings.position_embedding"),
    ("patch_embed.proj.", "embeddings.patch_embedding."), ("blocks.", "encoder.layers."), (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."), (".attn.qkv.", ".self_attn.qkv."), (".attn.proj.", ".self_attn.projection."), ("norm.", "post_layernorm."),
)  # fmt: skip
"""What transformers calls the weights of BLIP's picture encoder."""


class ImageReward(PictureReward):
    """``(MLP(h) - 0.167) / 1.033``, h the first state of BLIP's text encoder, which reads the prompt and looks at the picture: ratings of
    137,000 pairs (Xu et al. 2023, arXiv 2304.05977).

    Published as THUDM/ImageReward (Apache 2.0): ImageReward.pt, med_config.json.

    Args:
        source: hub name or folder. processor: of the tokeniser, BERT's.
        device, dtype: where and in which precision it computes; the head does in single.

    Raises:
        ModelError: there are no such weights.
    """

    network: Any
    words: Words

    def __init__(self, source: str = "THUDM/ImageReward", processor: str = "google-bert/bert-base-uncased", *,
                 device: Device = "auto", dtype: Dtype = "auto") -> None:  # fmt: skip
        weights = tensors_of(source, "ImageReward.pt")
        told = opened(
            "med_config.json",
            source,
            lambda: read_json(file_of(source, "med_config.json"), mend="take it from the hub"),
        )
        picture = {_renamed(k): v for k, v in _below(weights, "blip.visual_encoder.").items()}
        vision = opened("a network", source, lambda: _vision(picture))
        names = set(BlipTextConfig().to_dict()) - {"model_type", "architectures", "is_decoder"}
        text = BlipTextConfig(**{k: v for k, v in told.items() if k in names}, encoder_hidden_size=vision.hidden_size)
        words = {k: v for k, v in _below(weights, "blip.text_encoder.").items() if not k.endswith("position_ids")}
        network = nn.ModuleDict({
            "vision": placed(with_weights(BlipVisionModel, vision, picture, source), device, dtype),
            "text": placed(with_weights(BlipTextModel, text, words, source, add_pooling_layer=False), device, dtype),
            "head": linears(weights, "mlp.layers.", source),
        })  # fmt: skip
        side: Any = vision.image_size
        super().__init__(network.to(device_of(device)), Preprocessing((side, side)), Words(tokenizer_of(processor), TOKENS))  # fmt: skip

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        looked = self.network["vision"](images.to(self.network["vision"].dtype)).last_hidden_state
        told = self.words(texts, images.device)
        read = self.network["text"](**told, encoder_hidden_states=looked, is_decoder=False).last_hidden_state[:, 0]
        return (self.network["head"](read.float())[:, 0] - MEAN) / STD


def _below(weights: dict[str, Tensor], before: str) -> dict[str, Tensor]:
    return {k.removeprefix(before): v for k, v in weights.items() if k.startswith(before)}


def _renamed(name: str) -> str:
    for theirs, ours in NAMES:
        name = name.replace(theirs, ours, 1) if theirs.startswith(".") or name.startswith(theirs) else name
    return name


def _vision(weights: dict[str, Tensor]) -> BlipVisionConfig:
    """Sizes of the picture encoder, read off its weights; its heads are 64 wide."""
    width, _, patch, _ = weights["embeddings.patch_embedding.weight"].shape
    side = round((weights["embeddings.position_embedding"].shape[1] - 1) ** 0.5) * patch
    layers = {k.split(".")[2] for k in weights if k.startswith("encoder.layers.")}
    return BlipVisionConfig(
        hidden_size=width, patch_size=patch, image_size=side, num_hidden_layers=len(layers), layer_norm_eps=1e-6,
        intermediate_size=weights["encoder.layers.0.mlp.fc1.weight"].shape[0], num_attention_heads=max(1, width // 64))  # fmt: skip
