"""Published files of networks, from the hub or a folder."""

import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from accord.engine.run import load_tensors
from accord.errors import AccordError, ModelError
from accord.policies.placement import Device, Dtype, device_of, dtype_of

Found = TypeVar("Found")


def opened(what: str, source: str | Path, load: Callable[[], Found]) -> Found:
    """What `load` gives, or one line on why it can't.

    Raises:
        ModelError: something is not there, or is another thing.
    """
    try:
        return load()
    except AccordError:
        raise
    except (OSError, ValueError, LookupError, ImportError, RuntimeError, pickle.UnpicklingError) as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"can't load {what} from {source}: {why}") from error


def file_of(source: str | Path, name: str) -> Path:
    """A file of a folder or of a repository on the hub; the source itself, where that is a file."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return path / name
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(str(source), name))


def tensors_of(source: str | Path, name: str) -> dict[str, Tensor]:
    """Weights by name, from safetensors, or from a file of torch's (only tensors are unpickled)."""

    def load() -> dict[str, Tensor]:
        path = file_of(source, name)
        if path.suffix == ".safetensors":
            return load_tensors(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("state_dict", found) if isinstance(found, dict) else {}
        return {k: v for k, v in found.items() if isinstance(v, Tensor)}

    return opened("weights", source, load)


def with_weights(kind: Any, config: Any, weights: dict[str, Tensor], source: str | Path, **more: Any) -> Any:
    """A model of transformers with these weights.

    Raises:
        ModelError: they are not its own, each and all.
    """
    weights = {k: v.float() for k, v in weights.items()}
    model, info = opened("a network", source, lambda: kind.from_pretrained(
        None, config=config, state_dict=weights, output_loading_info=True, dtype=torch.float32, **more))  # fmt: skip
    odd = sorted(str(k) for which in ("missing_keys", "unexpected_keys", "mismatched_keys") for k in info[which])
    if odd:
        raise ModelError(
            f"{source} doesn't hold the weights of a {kind.__name__}: {len(odd)} are amiss, the first is {odd[0]}"
        )
    return model


def pretrained(kind: Any, source: str | Path, **more: Any) -> Any:
    """A model that transformers loads by itself, in single precision: what is read off its weights must not be rounded."""
    return opened(f"a {kind.__name__}", source, lambda: kind.from_pretrained(source, dtype=torch.float32, **more))


def tokenizer_of(source: str | Path) -> Any:
    return opened("a tokeniser", source, lambda: AutoTokenizer.from_pretrained(source))


def placed(model: nn.Module, device: Device, dtype: Dtype) -> Any:
    """A network for reading alone, where and in the precision that it is to compute."""
    place = device_of(device)
    return model.requires_grad_(False).eval().to(place, dtype_of(dtype, place))


def linears(weights: dict[str, Tensor], before: str, source: str | Path) -> nn.Sequential:
    """A head as published: layers ``{before}N.weight`` one after the other, with nothing but dropout between them; it stays in single precision.

    Raises:
        ModelError: there are no such layers, or they don't fit.
    """
    names = [k.removesuffix("weight") for k in weights if k.startswith(before) and k.endswith("weight")]
    names.sort(key=lambda k: int(k.removeprefix(before).removesuffix(".") or 0))
    layers = []
    for name in names:
        out, into = weights[f"{name}weight"].shape
        layers.append(nn.Linear(into, out))
        layers[-1].load_state_dict({k: weights[f"{name}{k}"].float() for k in ("weight", "bias")})
    fits = all(a.out_features == b.in_features for a, b in pairwise(layers))
    if not layers or not fits or layers[-1].out_features != 1:
        raise ModelError(f"{source} holds no head: layers {before}N.weight that end in one number")
    return nn.Sequential(*layers).requires_grad_(False).eval()
