"""Pipelines and their adapters, in and out of files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from accord.engine.memory import ran_out
from accord.engine.run import versions, write_text
from accord.errors import ModelError
from accord.policies.diffusion.families import kind_of_family
from accord.policies.hub import PICTURE_LORA, folder_of, kind_of


def opened(source: Any, dtype: torch.dtype) -> tuple[Any, str]:
    """A diffusers pipeline and its name.

    Args:
        source: hub name or folder (read in this precision) of a pipeline, or of a LoRA, which comes on the pipeline that its
            README.md names; or a loaded pipeline, which stays as it is.

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
    if kind_of(source) == PICTURE_LORA:
        folder = folder_of(source)
        return with_lora(opened(base_of(folder), dtype)[0], folder), str(source)
    try:
        parts = DiffusionPipeline.load_config(source)
        kind_of_family(str(parts.get("_class_name")))  # before gigabytes are read
        # Some pipelines saved without a part (the largest text encoder) open only if told that there is none.
        without = {name: None for name, origin in parts.items() if origin == [None, None]}
        return DiffusionPipeline.from_pretrained(source, dtype=dtype, **without), str(source)
    except (OSError, ValueError) as error:
        why = "there is no model_index.json" if "model_index" in str(error) else str(error).splitlines()[0]
        raise ModelError(f"can't load a diffusers pipeline from {source}: {why}") from error


SECOND = "transformer_2"
"""The denoiser for little noise where there are two: its LoRA lies in a folder of this name, as diffusers reads one at a time."""


def with_lora(pipe: Any, folder: Path, **named: str) -> Any:
    """A pipeline with a saved LoRA on it.

    Args:
        named: its `adapter_name`.

    Raises:
        ModelError: it doesn't fit.
    """
    try:
        pipe.load_lora_weights(str(folder), **named)
        if (folder / SECOND / PICTURE_LORA).is_file() and getattr(pipe, SECOND, None) is not None:
            pipe.load_lora_weights(str(folder / SECOND), load_into_transformer_2=True, **named)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if ran_out(error):
            raise
        why = str(error).strip().splitlines()[0]
        raise ModelError(f"the LoRA {folder} doesn't fit its pipeline {pipe.name_or_path}: {why}") from error
    return pipe


def base_of(folder: Path) -> str:
    """The pipeline that a LoRA belongs to. Its weights don't say, but the card that the hub keeps beside them.

    Raises:
        ModelError: there is no such card, or it doesn't say either.
    """
    try:
        card = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
        base = card["base_model"]
        return str(base[0] if isinstance(base, list) else base)
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        raise ModelError(f"{folder} is a LoRA for pictures, but nothing says of which pipeline: write a README.md there that begins with "
                         "the lines ---, base_model: NAME, ---") from None  # fmt: skip


def check_lora(denoisers: Mapping[str, Any]) -> None:
    """Raise ModelError where of several denoisers only some have a LoRA: it can't be saved as one."""
    without = [name for name, part in denoisers.items() if not getattr(part, "peft_config", None)]
    if without:
        raise ModelError(f"this pipeline has a LoRA, but none on its {without[0]}: load one there too, or put it into the weights first "
                         "(pipe.fuse_lora() and pipe.unload_lora_weights())")  # fmt: skip


def save_lora(folder: Path, pipe: Any, first: str, denoisers: Mapping[str, Any]) -> None:
    """Write the LoRA of each denoiser, and the card of all: that of the first one here, another's in a folder of its name."""
    for name, part in denoisers.items():
        where = folder if name == first else folder / name
        pipe.save_lora_weights(str(where), **{f"{first}_lora_layers": lora_layers(part)})
    if pipe.name_or_path:
        write_card(folder, pipe.name_or_path)


def write_card(folder: Path, base: str) -> None:
    """README.md of a LoRA: what it belongs on, and how to put it there."""
    base = str(Path(base).resolve()) if Path(base).is_dir() else base
    made = ", ".join(f"{k} {v}" for k, v in versions().items())
    second = (
        f'pipe.load_lora_weights("<this folder>/{SECOND}", load_into_transformer_2=True)\n' * (folder / SECOND).is_dir()
    )
    write_text(folder / "README.md", f"""---
base_model: {json.dumps(base)}
library_name: diffusers
tags: [lora, accord]
---

# LoRA

```python
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained({base!r})
pipe.load_lora_weights("<this folder>")
{second}```

{made}
""")  # fmt: skip


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
