"""Pipelines and their adapters, in and out of files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.errors import ModelError


def opened(source: Any, dtype: torch.dtype) -> tuple[Any, str]:
    """A diffusers pipeline and its name.

    Args:
        source: hub name, folder (read in this precision), or a loaded pipeline, which stays as it is.

    Raises:
        ModelError: there is no such pipeline.
    """
    try:
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise ModelError('pictures need diffusers: pip install "accord[image]"') from error
    if isinstance(source, DiffusionPipeline):
        loaded: Any = source
        return loaded, str(loaded.name_or_path or type(source).__name__)
    if not isinstance(source, str | Path):
        raise ModelError(
            f"a diffusion policy is loaded from a name, a folder or a diffusers pipeline, not a {type(source).__name__}"
        )
    try:
        kind = DiffusionPipeline.load_config(source)
        # Stable Diffusion 3 saved without its largest text encoder opens only if told that there is none.
        without = {n: None for n in ("text_encoder_3", "tokenizer_3") if not (kind.get(n) or [None])[0]}
        more = without if str(kind.get("_class_name", "")).startswith("StableDiffusion3") else {}
        return DiffusionPipeline.from_pretrained(source, dtype=dtype, **more), str(source)
    except (OSError, ValueError) as error:
        why = "there is no model_index.json" if "model_index" in str(error) else str(error).splitlines()[0]
        raise ModelError(f"can't load a diffusers pipeline from {source}: {why}") from error


def lora_layers(denoiser: Any) -> dict[str, Tensor]:
    """The matrices of a denoiser's LoRA as diffusers saves them. Its files hold no alpha, so B is scaled by what alpha means.

    Raises:
        ModelError: it has several, or one of more than matrices.
    """
    from peft import get_peft_model_state_dict
    from peft.tuners.lora import LoraLayer

    names = denoiser.active_adapters()
    if len(names) != 1:
        raise ModelError(
            f"{len(names)} adapters can't be saved as one: put them into the weights first (pipe.fuse_lora())"
        )
    if denoiser.peft_config[names[0]].modules_to_save:
        raise ModelError("diffusers' files hold LoRA matrices alone: leave modules_to_save out")
    scale = {
        n: m.scaling[names[0]]
        for n, m in denoiser.named_modules()
        if isinstance(m, LoraLayer) and names[0] in m.scaling
    }
    found = get_peft_model_state_dict(denoiser, adapter_name=names[0])
    return {k: w * scale[k.split(".lora_B")[0]] if ".lora_B" in k else w for k, w in found.items()}
