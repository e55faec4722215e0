"""The world's trained generators as pipelines and as policies."""

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import SD3Transformer2DModel, StableDiffusionPipeline

from accord.errors import ModelError
from accord.policies.adapters import Lora
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.worlds.portraits.model import WEIGHTS
from accord.worlds.portraits.proxies import PortraitFaces
from accord.worlds.portraits.twins import flow_pipeline, lcm_scheduler

Kind = Literal["unet", "flow", "consistency"]

SAMPLING: dict[Kind, Denoising] = {
    "unet": Denoising(steps=8, guidance=1.0, eta=1.0),
    "flow": Denoising(steps=8, guidance=1.0, eta=1.0),
    "consistency": Denoising(steps=4, guidance=1.0, eta=0.0),
}
"""How each of them is drawn from."""


def pipeline(kind: Kind = "unet", weights: Path = WEIGHTS) -> Any:
    """A diffusers pipeline: Stable Diffusion, its flow twin of SD3's class, or its few-step consistency twin.

    Raises:
        ModelError: the weights are not there.
    """
    _want(weights, "unet", "unet")
    pipe = StableDiffusionPipeline.from_pretrained(weights, dtype=torch.float32)
    if kind != "unet":
        _want(weights, kind, kind)
    if kind == "flow":
        pipe = flow_pipeline(SD3Transformer2DModel.from_pretrained(weights / "flow", dtype=torch.float32), pipe)
    if kind == "consistency":
        pipe.load_lora_weights(str(weights / "consistency"))
        pipe.fuse_lora()
        pipe.unload_lora_weights()
        pipe.scheduler = lcm_scheduler(pipe.scheduler.config)
    pipe.register_to_config(_name_or_path="portraits" if kind == "unet" else f"portraits/{kind}")
    return pipe


def policy(kind: Kind = "unet", *, lora: Lora | None = None, seed: int = 0) -> DiffusionPolicy:
    """A fresh policy on one of the generators, with LoRA (a rank or a configuration; first weights from this seed) or all weights to train."""
    made = DiffusionPolicy(pipeline(kind), f"portraits/{kind}").eval()
    if lora is not None:
        made.add_lora(lora, seed=seed)
    return made


def adapted(weights: Path = WEIGHTS, *, trained: bool = True, seed: int = 0) -> DiffusionPolicy:
    """The U-Net's policy with an image adapter for the world's faces: prompts may show whom they mean."""
    if trained:
        _want(weights, "image_adapter.safetensors", "adapter")
    made = DiffusionPolicy(pipeline("unet", weights), "portraits/adapter").eval()
    made.add_image_adapter(
        PortraitFaces(),
        PortraitFaces.size,
        weights=weights / "image_adapter.safetensors" if trained else None,
        seed=seed,
    )
    return made


def _want(weights: Path, part: str, stage: str) -> None:
    if not (weights / part).exists():
        raise ModelError(f"{weights} holds no {part}: make it with python -m accord.worlds.portraits.train {stage}")
