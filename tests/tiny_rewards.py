"""Networks that score pictures, tiny and with random weights, in files of the very layout in which the real ones are published.

What transformers doesn't write itself (open_clip's ViT, BLIP's) is built here as those libraries build it, so that loading is held to
another computation and not to itself.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from tiny_pipelines import text_config, tokenizer

SIDE, PATCH, WIDTH = 28, 14, 64


def shaken(model: Any, seed: int = 0, gain: float = 1.3) -> Any:
    """Weights so large that a difference in what is computed shows; what looks at pixels is as smooth as trained filters are."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, w in model.named_parameters():
            spread = gain * w[0].numel() ** -0.5 if w.ndim > 1 else 0.1
            w.copy_(torch.randn(w.shape, generator=g) * spread + float(w.ndim == 1 and name.endswith("weight")))
            if w.ndim == 4:
                w.copy_(interpolate(w[..., :2, :2], w.shape[-2:], mode="bilinear"))
    return model.eval()


def clip_folder(path: Path, seed: int = 0) -> Path:
    """As openai/clip-vit-large-patch14 lies on the hub."""
    seeing = {
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    model = shaken(
        CLIPModel(CLIPConfig(text_config=text_config().to_dict(), vision_config=seeing, projection_dim=16)), seed
    )
    with torch.no_grad():
        model.logit_scale.fill_(4.6052)
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


def words_tokenizer(first: str, last: str, pad: str) -> PreTrainedTokenizerFast:
    """Whole words of the tiny pipelines."""
    names = [pad, first, last, "?", "a", "person", "cat", "with", "hat", "red", "blue"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single=f"$A {last}", special_tokens=[(last, names.index(last))])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=pad, eos_token=last, unk_token="?")


def siglip_folder(path: Path) -> Path:
    """As google/siglip-base-patch16-224 lies there, with another tokeniser (its own wants a package that is none of ours)."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = shaken(SiglipModel(SiglipConfig(
        text_config={**sizes, "vocab_size": 11, "max_position_embeddings": 8, "projection_size": WIDTH},
        vision_config={**sizes, "image_size": SIDE, "patch_size": PATCH})))  # fmt: skip
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(path)
    words_tokenizer("<s>", "</s>", "<pad>").save_pretrained(path)
    SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


class Block(nn.Module):
    """open_clip's ResidualAttentionBlock."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 2 * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(2 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Layers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x.transpose(0, 1)
        for block in self.resblocks:
            x = block(x, mask)
        return x.transpose(0, 1)


class Seeing(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.empty((SIDE // PATCH) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Layers(width)
        self.proj = nn.Parameter(torch.empty(width, out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class OpenCLIP(nn.Module):
    """open_clip's CLIP, of which HPS v2 is one: a picture tower 128 wide, a text tower 64 wide."""

    def __init__(self, words: int = 64, length: int = 24, out: int = 16) -> None:
        super().__init__()
        self.visual, self.transformer = Seeing(128, out), Layers(64)
        self.token_embedding, self.ln_final = nn.Embedding(words, 64), nn.LayerNorm(64)
        self.positional_embedding = nn.Parameter(torch.empty(length, 64))
        self.text_projection = nn.Parameter(torch.empty(64, out))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)
        x = self.ln_final(self.transformer(self.token_embedding(ids) + self.positional_embedding, mask))
        said = x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection
        return (normalize(self.visual(images), dim=-1) * normalize(said, dim=-1)).sum(-1)


def hps_folder(path: Path) -> tuple[Path, OpenCLIP]:
    """As xswu/HPSv2 lies on the hub."""
    path.mkdir(exist_ok=True)
    model = shaken(OpenCLIP())
    torch.save({"epoch": 1, "name": "hps", "state_dict": model.state_dict()}, path / "HPS_v2.1_compressed.pt")
    tokenizer().save_pretrained(path)
    return path, model


def head(width: int, seed: int = 1) -> nn.Sequential:
    """Of LAION's aesthetics and of ImageReward."""
    sizes = (width, 1024, 128, 64, 16, 1)
    drops = (0.2, 0.2, 0.1, None, None)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(a, b), *([] if drops[i] is None else [nn.Dropout(drops[i])])]
    return shaken(nn.Sequential(*layers), seed, 1.0)


def aesthetics_folder(path: Path) -> tuple[Path, nn.Sequential]:
    """As trl-lib/ddpo-aesthetic-predictor lies on the hub."""
    path.mkdir(exist_ok=True)
    made = head(16)
    torch.save({f"layers.{k}": v for k, v in made.state_dict().items()}, path / "aesthetic-model.pth")
    return path, made


class Rows(nn.Module):
    """BLIP's attention: queries, keys and values in one matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v)


class Looking(nn.Module):
    """BLIP's ViT, as timm names it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, (SIDE // PATCH) ** 2 + 1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, PATCH, PATCH)})
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({
                "norm1": nn.LayerNorm(width, eps=1e-6), "attn": Rows(width), "norm2": nn.LayerNorm(width, eps=1e-6),
                "mlp": nn.ModuleDict({"fc1": nn.Linear(width, 96), "fc2": nn.Linear(96, width)}),
            }) for _ in range(2))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = x + block["attn"](block["norm1"](x))
            x = x + block["mlp"]["fc2"](nn.functional.gelu(block["mlp"]["fc1"](block["norm2"](x))))
        return self.norm(x)


class ImageRewardPeer(nn.Module):
    """BLIP's picture encoder, a BERT that looks at it, and the head."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(vocab_size=16, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96,
                            max_position_embeddings=40, is_decoder=True, add_cross_attention=True)  # fmt: skip
        self.looking, self.reading, self.head = (
            shaken(Looking(WIDTH)),
            shaken(BertModel(config, add_pooling_layer=False), 2),
            head(WIDTH),
        )
        with torch.no_grad():
            self.reading.embeddings.token_type_embeddings.weight.zero_()  # BLIP's has none
        self.reading.config.is_decoder = False  # its words see each other

    def forward(self, images: Tensor, **told: Tensor) -> Tensor:
        said = self.reading(**told, encoder_hidden_states=self.looking(images)).last_hidden_state[:, 0]
        return (self.head(said)[:, 0] - 0.16717362830052426) / 1.0333394966054072


def image_reward_folder(path: Path) -> tuple[Path, ImageRewardPeer]:
    """As THUDM/ImageReward lies on the hub."""
    path.mkdir(exist_ok=True)
    model = ImageRewardPeer().eval()
    words = {k: v for k, v in model.reading.state_dict().items() if "token_type" not in k}
    words["embeddings.position_ids"] = torch.arange(40)[None]
    weights = {
        **{f"blip.visual_encoder.{k}": v for k, v in model.looking.state_dict().items()},
        **{f"blip.text_encoder.{k}": v for k, v in words.items()},
        "blip.vision_proj.weight": torch.zeros(8, WIDTH), "blip.text_proj.weight": torch.zeros(8, WIDTH),
        **{f"mlp.layers.{k}": v for k, v in model.head.state_dict().items()},
    }  # fmt: skip
    torch.save(weights, path / "ImageReward.pt")
    told = {"architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
            "hidden_size": WIDTH, "initializer_range": 0.02, "intermediate_size": 96, "layer_norm_eps": 1e-12, "max_position_embeddings": 40,
            "model_type": "bert", "num_attention_heads": 2, "num_hidden_layers": 2, "pad_token_id": 0, "type_vocab_size": 2,
            "vocab_size": 16, "encoder_width": WIDTH, "add_cross_attention": True}  # fmt: skip
    (path / "med_config.json").write_text(json.dumps(told))
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "cat", "with", "hat", "red", "blue"]
    BertTokenizer(vocab={w: i for i, w in enumerate(names)}).save_pretrained(path)
    return path, model
