"""Stable Diffusion 1, XL and 3 pipelines built tiny from config: the real classes, seconds to run."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from accord.policies.diffusion import DiffusionPolicy

WORDS = ["a", "person", "cat", "with", "hat", "red", "blue"]
FAMILIES = ("sd", "sdxl", "sd3")


def tokenizer() -> CLIPTokenizer:
    letters = sorted({c for w in WORDS for c in w})
    vocab = {t: i for i, t in enumerate([*letters, *[f"{c}</w>" for c in letters], "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=24, pad_token="<|endoftext|>")


def text_config(width: int = 16) -> CLIPTextConfig:
    return CLIPTextConfig(vocab_size=64, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                          max_position_embeddings=24, projection_dim=width, eos_token_id=63, bos_token_id=62, pad_token_id=63)  # fmt: skip


def vae(shift: float | None = None) -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                         up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, sample_size=16, shift_factor=shift)  # fmt: skip


def unet(**more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, **{"cross_attention_dim": 16, **more})  # fmt: skip


def pipeline(family: str = "sd", seed: int = 0, **config: Any) -> Any:
    """A pipeline with random weights; `config` goes to its scheduler."""
    torch.manual_seed(seed)
    t = tokenizer()
    if family == "sd":
        return StableDiffusionPipeline(vae(), CLIPTextModel(text_config()), t, unet(), DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False,
            steps_offset=1, **config), None, None, requires_safety_checker=False)  # fmt: skip
    if family == "sdxl":
        xl = unet(addition_embed_type="text_time", addition_time_embed_dim=4, cross_attention_dim=32,
                  projection_class_embeddings_input_dim=6 * 4 + 16, transformer_layers_per_block=(1, 1))  # fmt: skip
        return StableDiffusionXLPipeline(vae(), CLIPTextModel(text_config()), CLIPTextModelWithProjection(text_config()), t, t, xl,
                                         DDIMScheduler(clip_sample=False, **config))  # fmt: skip
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=32, out_channels=4)  # fmt: skip
    return StableDiffusion3Pipeline(transformer, FlowMatchEulerDiscreteScheduler(**config), vae(0.06), CLIPTextModelWithProjection(text_config()),
                                    t, CLIPTextModelWithProjection(text_config()), t, None, None)  # fmt: skip


@lru_cache
def folder(family: str, where: str) -> Path:
    path = Path(where) / family
    pipeline(family).save_pretrained(path)
    return path


def policy(family: str = "sd3", *, lora: int | None = None, **config: Any) -> DiffusionPolicy:
    made = DiffusionPolicy(pipeline(family, **config), family).eval()
    if lora:
        torch.manual_seed(0)
        made.add_lora(lora)
    return made


def picture(seed: int) -> Tensor:
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed))


def brightness(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [float(c.mean()) for c in completions]


def contrast(*, prompts: Any, completions: Any, **columns: Any) -> Tensor:
    """Upper half brighter than the lower: with gradient."""
    images = completions if isinstance(completions, Tensor) else torch.stack(list(completions))
    return images[:, :, :8].mean((1, 2, 3)) - images[:, :, 8:].mean((1, 2, 3))


def gradient(algorithm: Any, experience: Any) -> Tensor:
    """Of all weights that train, as one vector."""
    weights = [w for w in algorithm.policy.parameters() if w.requires_grad]
    found = torch.autograd.grad(algorithm(experience).sum, weights, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def near(a: Tensor, b: Tensor, to: float = 1e-4) -> bool:
    """Equal but for rounding, as whole vectors."""
    return float((a - b).norm()) < to * float(a.norm())


def nudge(p: DiffusionPolicy, by: float = 1e-2) -> None:
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for w in p.parameters():
            if w.requires_grad:
                w.add_(by * torch.randn(w.shape, generator=g))
