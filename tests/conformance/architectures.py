"""Every decoder class of transformers, tiny, with random weights, as the model folder that a user would have."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from .shrink import OWN, VOCABULARY, shrunk
from .tokenizers_ import byte_level

NAMES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
LIMIT = 3_000_000


class Unbuilt(Exception):
    """A class that doesn't come in tiny, with the reason."""


def config(name: str, tokenizer: Any, **own: Any) -> transformers.PretrainedConfig:
    """A tiny config of a model type, for this tokeniser."""
    ids = {k: getattr(tokenizer, k) for k in ("pad_token_id", "bos_token_id", "eos_token_id")}
    if len(tokenizer) > VOCABULARY:
        own = {"vocab_size": len(tokenizer), **own}
    return shrunk(CONFIG_MAPPING[name], {k: v for k, v in ids.items() if v is not None}, **{**OWN.get(name, {}), **own})


def build(name: str, tokenizer: Any = None, *, scale: float = 5.0, seed: int = 0, auto: Any = transformers.AutoModelForCausalLM,
          **own: Any) -> Any:  # fmt: skip
    """A tiny model of this type.

    Args:
        scale: of its matrices: as small as they are initialised, no error would show.

    Raises:
        Unbuilt: it can't be made so small, or not at all.
    """
    torch.manual_seed(seed)
    try:
        small = config(name, tokenizer or byte_level(), **own)
        with torch.device("meta"):
            size = sum(p.numel() for p in auto.from_config(small).parameters())
        if size > LIMIT:
            raise Unbuilt(f"it has {size:,} parameters at least")
        model = auto.from_config(small)
    except Unbuilt:
        raise
    except Exception as error:  # whatever a class raises where a size doesn't suit it
        raise Unbuilt(f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:120]}") from error
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(scale)
    return model.eval()


def saved(name: str, where: Path, tokenizer: Any = None, **options: Any) -> Path:
    """Its folder, tokeniser included; made once."""
    folder = where / name
    if not folder.is_dir():
        tokenizer = tokenizer or byte_level()
        build(name, tokenizer, **options).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
