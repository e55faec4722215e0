"""Policies as the command line names them: an embedded one, a hub name, a folder, a GGUF file, a pipeline, an adapter."""

import json
from pathlib import Path
from typing import Any

import torch

from accord.cli.data import quiet_diffusers
from accord.errors import ModelError
from accord.policies import LanguagePolicy
from accord.policies.loading import resolve

EMBEDDED = ("letters", "portraits", "portraits/flow", "portraits/consistency")
"""Policies that come with the package; smollm2 comes with one beside it."""

PICTURE_LORA = "pytorch_lora_weights.safetensors"


def kind_of_policy(spec: str) -> type:
    """The class of a policy, told from its name and from what lies in its folder; nothing is loaded, nor need it be there."""
    if not _of_pictures(spec):
        return LanguagePolicy
    quiet_diffusers()
    from accord.policies.diffusion import DiffusionPolicy

    return DiffusionPolicy


def check_policy(spec: str) -> type:
    """The class of a policy that is there.

    Raises:
        ModelError: there is no such policy.
    """
    kind = kind_of_policy(spec)
    if kind is LanguagePolicy and not _embedded(spec):
        resolve(spec)
    return kind


def open_policy(spec: str, *, lora: int | None = None, gradient_checkpointing: bool = False, device: str = "auto",
                dtype: str = "auto", seed: int = 0) -> Any:  # fmt: skip
    """The policy of a specification, ready to train or to draw from."""
    source: Any = spec
    if spec == "letters" and _embedded(spec):
        from accord.worlds.letters import WEIGHTS

        source = WEIGHTS
    elif _of_pictures(spec):
        source = _pipeline(spec)
    return kind_of_policy(spec).load(source, lora=lora, gradient_checkpointing=gradient_checkpointing, device=device,  # type: ignore[attr-defined]
                                     dtype=dtype, seed=seed)  # fmt: skip


def _embedded(spec: str) -> bool:
    return spec in EMBEDDED and not Path(spec).exists()


def _of_pictures(spec: str) -> bool:
    path = Path(spec)
    if _embedded(spec):
        return spec != "letters"
    if path.exists():
        return any((path / name).is_file() for name in ("model_index.json", PICTURE_LORA))
    return len(path.parts) == 2 and not path.is_absolute() and path.suffix != ".gguf" and _pipeline_on_hub(spec)


def _pipeline_on_hub(name: str) -> bool:
    from huggingface_hub import file_exists, try_to_load_from_cache

    known = {f: isinstance(try_to_load_from_cache(name, f), str) for f in ("model_index.json", "config.json")}
    if any(known.values()):
        return known["model_index.json"]
    try:
        return file_exists(name, "model_index.json")
    except Exception:  # whatever keeps the hub from answering, loading will say
        return False


def _pipeline(spec: str) -> Any:
    """What `DiffusionPolicy.load` takes: a name or folder as it is, or a pipeline that had to be put together."""
    if _embedded(spec):
        from accord.worlds.portraits import pipeline

        return pipeline(spec.partition("/")[2] or "unet")  # type: ignore[arg-type]
    if not (Path(spec) / PICTURE_LORA).is_file():
        return spec
    from accord.policies.diffusion.files import opened

    base = _pipeline(_base_of(Path(spec)))
    pipe = opened(base, torch.float32)[0]
    pipe.load_lora_weights(spec)
    return pipe


def _base_of(folder: Path) -> str:
    """The pipeline that a LoRA belongs to, which its file doesn't say, but the run that made it."""
    try:
        return str(json.loads((folder.parent / "run.json").read_text())["model"])
    except (OSError, ValueError, KeyError):
        raise ModelError(
            f"{folder} is a LoRA for pictures, outside the run that made it: nothing says on which pipeline"
        ) from None
