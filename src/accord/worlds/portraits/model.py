"""The world's generator: real diffusers classes, tiny. ``build`` makes them new, ``pipeline`` opens the trained ones."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from accord.engine.run import load_tensors, save_tensors, write_text
from accord.worlds.portraits.people import ATTRIBUTES
from accord.worlds.portraits.prompts import PHRASES, SUBJECTS

WEIGHTS = Path(__file__).parent / "weights"
WIDTH, LENGTH = 128, 40
SPARE = ("sks", "this", "man", "woman", "the", "same")
"""Words that training prompts don't use: a user's own subject can be called by them."""


def build_tokenizer() -> CLIPTokenizer:
    """Byte-pair tokens in CLIP's form, in which every word of the world's prompts is one token."""
    words = {w for values in PHRASES.values() for said in values.values() for p in said for w in p.split()}
    words |= (
        {w for s in SUBJECTS for w in s.split()}
        | set(SPARE)
        | {"a", "an"}
        | {v for vs in ATTRIBUTES.values() for v in vs}
    )
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [",", "."]
    trainer = trainers.BpeTrainer(vocab_size=2000, end_of_word_suffix="</w>", initial_alphabet=letters, min_frequency=1,
                                  show_progress=False)  # fmt: skip
    bpe.train_from_iterator(sorted(words), trainer)
    made = json.loads(bpe.to_str())["model"]
    merges: Any = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in made["merges"]]
    symbols = [
        *letters,
        *[f"{c}</w>" for c in letters],
        *["".join(m) for m in merges],
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocab = {t: i for i, t in enumerate(dict.fromkeys(symbols))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH, pad_token="<|endoftext|>")


def build_vae(seed: int = 0) -> AutoencoderKL:
    """64x64 pictures to 8x8x4 latents; a decoder of about a million weights."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(16, 24, 48, 96), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=64,
    )  # fmt: skip


def build_text_encoder(tokenizer: CLIPTokenizer, seed: int = 0) -> CLIPTextModel:
    torch.manual_seed(seed)
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=LENGTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ))  # fmt: skip


def build_unet(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(64, 128), layers_per_block=1, norm_num_groups=16, cross_attention_dim=WIDTH,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
                         set_alpha_to_one=True, steps_offset=1, timestep_spacing="trailing")  # fmt: skip


def assemble(
    vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> Any:
    return StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler(), None, None, requires_safety_checker=False
    )


def save(pipe: Any, folder: Path) -> None:
    """Write a pipeline's folder as older transformers read it too: their tokenizer's files, their names of weights."""
    pipe.save_pretrained(folder)
    weights = folder / "text_encoder" / "model.safetensors"
    old = {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in load_tensors(weights).items()}
    save_tensors(weights, old)
    made = json.loads(pipe.tokenizer.backend_tokenizer.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in made["merges"]]
    write_text(folder / "tokenizer" / "vocab.json", json.dumps(made["vocab"]))
    write_text(folder / "tokenizer" / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
