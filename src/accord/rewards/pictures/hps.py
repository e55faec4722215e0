"""HPS v2: which picture people prefer for a prompt; its weights are published as open_clip writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from accord.errors import ModelError
from accord.policies.placement import Device, Dtype
from accord.rewards.pictures.files import opened, tensors_of, tokenizer_of, with_weights
from accord.rewards.pictures.preprocessing import Preprocessing
from accord.rewards.pictures.reward import PictureReward
from accord.rewards.pictures.towers import Towers

FILES = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}

WHOLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
PARTS = (
    ("visual.ln_pre.", "vision_model.pre_layrnorm."), ("visual.ln_post.", "vision_model.post_layernorm."),
    ("ln_final.", "text_model.final_layer_norm."), ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."), (".ln_1.", ".layer_norm1."), (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."), (".attn.out_proj.", ".self_attn.out_proj."),
)  # fmt: skip
"""What transformers calls open_clip's weights."""


class HPSv2(PictureReward):
    """``cos(E_picture, E_prompt)`` of a CLIP-H trained on 798,090 choices between pictures (Wu et al. 2023, arXiv 2306.09341).

    Published as xswu/HPSv2 (Apache 2.0) in open_clip's layout, of which its ViTs are read. Pictures that are not square get black borders.

    Args:
        source: hub name, folder, or the file itself. version: which of its files.
        processor: of the tokeniser. device, dtype: where and in which precision it computes.

    Raises:
        ModelError: there are no such weights.
    """

    network: Towers

    def __init__(self, source: str = "xswu/HPSv2", version: Literal["v2.1", "v2.0"] = "v2.1",
                 processor: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", *, device: Device = "auto", dtype: Dtype = "auto") -> None:  # fmt: skip
        model = from_open_clip(tensors_of(source, FILES[version]), source)
        side = model.config.vision_config.image_size
        towers = Towers(model, tokenizer_of(processor), device, dtype)
        super().__init__(towers, Preprocessing((side, side), "pad"), towers.words)

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        return self.network(images, texts)


def from_open_clip(weights: dict[str, Tensor], source: str | Path) -> Any:
    """The same network as a `CLIPModel`, its sizes read off the weights. The number of heads is nowhere in them: they are 64 wide, but
    16 in a picture tower that is wider than 1024 (as all of open_clip's ViTs have it).

    Raises:
        ModelError: these are no weights of a ViT of open_clip.
    """
    if "visual.conv1.weight" not in weights or "text_projection" not in weights:
        raise ModelError(f"{source} holds no ViT of open_clip: there is no visual.conv1.weight, or no text_projection")
    config = opened("a network", source, lambda: _config(weights))
    renamed = {k: v for name, w in weights.items() for k, v in _renamed(name, w).items()}
    return with_weights(CLIPModel, config, renamed, source)


def _config(weights: dict[str, Tensor]) -> CLIPConfig:
    width, _, patch, _ = weights["visual.conv1.weight"].shape
    places, (words, _) = weights["visual.positional_embedding"].shape[0], weights["token_embedding.weight"].shape
    length, wide = weights["positional_embedding"].shape
    seeing = {"hidden_size": width, "patch_size": patch, "image_size": round((places - 1) ** 0.5) * patch,
              "num_attention_heads": min(16, max(1, width // 64)), **_tower(weights, "visual.")}  # fmt: skip
    # The end of a text is the token of the highest number; 2 is how transformers says that.
    reading = {"hidden_size": wide, "max_position_embeddings": length, "vocab_size": words, "eos_token_id": 2,
               "num_attention_heads": max(1, wide // 64), **_tower(weights, "")}  # fmt: skip
    return CLIPConfig(vision_config=seeing, text_config=reading, projection_dim=weights["text_projection"].shape[1])


def _tower(weights: dict[str, Tensor], before: str) -> dict[str, int | str]:
    blocks = f"{before}transformer.resblocks."
    layers = {k.removeprefix(blocks).partition(".")[0] for k in weights if k.startswith(blocks)}
    inner = weights[f"{blocks}0.mlp.c_fc.weight"].shape[0]
    return {"num_hidden_layers": len(layers), "intermediate_size": inner, "hidden_act": "gelu"}


def _renamed(name: str, weight: Tensor) -> dict[str, Tensor]:
    """One of open_clip's weights as those of transformers; nothing for the mask, which is none."""
    if name == "attn_mask":
        return {}
    if name in ("visual.proj", "text_projection"):
        return {f"{name.split('.')[0].removesuffix('_projection')}_projection.weight": weight.T.contiguous()}
    if name in WHOLE:
        return {WHOLE[name]: weight}
    for theirs, ours in PARTS:
        name = name.replace(theirs, ours, 1) if theirs.startswith(".") or name.startswith(theirs) else name
    layer, joined, kind = name.partition(".attn.in_proj_")
    if joined:
        return {f"{layer}.self_attn.{p}_proj.{kind}": w.clone() for p, w in zip("qkv", weight.chunk(3), strict=True)}
    return {name: weight}
