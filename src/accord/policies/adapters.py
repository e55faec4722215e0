"""New adapters by one rule; saved ones under new ones: what a LoRA adds to each layer, and two of them as one."""

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from accord.elsewhere import refuse_unknown
from accord.engine.run import save_tensors
from accord.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from peft import LoraConfig

    Lora = int | LoraConfig | Mapping[str, Any]
else:
    Lora = int | Any  # peft costs 140 MB and a second: it is imported where an adapter is made or read

log = logging.getLogger(__name__)

Factors = dict[str, tuple[Tensor, Tensor]]
"""For each adapted layer A and B, scaled, so that ``W + B A`` is what it computes with."""


def lora_config(lora: Lora, name: str, *, targets: str | list[str], **otherwise: Any) -> "LoraConfig":
    """The peft configuration of new adapters.

    A rank alone means alpha = rank: what the adapter adds is ``B A`` itself, which is also what files without alpha (all of
    diffusers' pictures) are read as.

    Args:
        lora: rank, or a configuration (or a dict of its fields) of which the caller's own words stay. name: of the model, for messages.
        targets: the layers, where it names none. otherwise: further settings that come with a rank.

    Raises:
        ConfigError: no rank.
    """
    from peft import LoraConfig

    if isinstance(lora, Mapping):
        refuse_unknown("lora", lora, [f.name for f in fields(LoraConfig)], {"rank": "r", "alpha": "lora_alpha"})
        lora = LoraConfig(**lora)
    if not isinstance(lora, LoraConfig):
        if not isinstance(lora, int) or not 1 <= lora <= 2**16:
            raise ConfigError(
                f"lora is a rank, from 1 to {2**16}, but got {str(lora)[:40]} (leave it out to train every weight)"
            )
        return LoraConfig(r=lora, lora_alpha=lora, target_modules=targets, **otherwise)
    lora = copy.deepcopy(lora)
    lora.target_modules = lora.target_modules or targets
    if lora.lora_dropout:
        log.warning("%s: lora_dropout=%g is left out: log-probs are taken without dropout", name, lora.lora_dropout)
    return lora


def adapter_of(folder: Path) -> dict[str, Any] | None:
    """The configuration of a saved adapter; None where the folder holds none.

    Raises:
        ModelError: it can't be read, or names no model that it belongs to.
    """
    file = folder / "adapter_config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text())
        if isinstance(config["base_model_name_or_path"], str):
            return config
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ModelError(f"{file} names no base model: put its name or path there as base_model_name_or_path")


def below(model: Any, name: str) -> tuple[Factors, Any]:
    """What a loaded LoRA adds, and the model with it merged into the weights.

    Raises:
        ModelError: it is no plain LoRA, so that nothing could be put over it and saved as one.
    """
    found = _factors(model)
    config = model.active_peft_config
    if found is None or config.modules_to_save or config.peft_type != "LORA":
        raise ModelError(f"{name} is an adapter of more than plain LoRA: no new one can be put over it; train it on as it is "
                         "(leave lora out), or merge it into its model first (peft's merge_and_unload)")  # fmt: skip
    return {k: (a.detach().clone(), b.detach().clone()) for k, (a, b) in found.items()}, model.merge_and_unload()


def save_stacked(model: Any, lower: Factors, folder: Path) -> None:
    """Write a model's LoRA and the one below it as a single adapter: ranks add up, ``[B1 B2] [A1; A2] = B1 A1 + B2 A2``.

    Raises:
        ModelError: the upper one is no plain LoRA.
    """
    from peft import LoraConfig

    upper = _factors(model)
    if upper is None or model.active_peft_config.modules_to_save:
        raise ModelError("an adapter over another can be saved only if it is plain LoRA")
    parts = {name: [f[name] for f in (lower, upper) if name in f] for name in sorted(lower.keys() | upper.keys())}
    ranks = {name: sum(len(a) for a, _ in p) for name, p in parts.items()}
    config = LoraConfig(
        r=max(ranks.values()), lora_alpha=max(ranks.values()), target_modules=list(parts), rank_pattern=ranks,
        alpha_pattern=ranks, fan_in_fan_out=model.active_peft_config.fan_in_fan_out, task_type=model.active_peft_config.task_type, inference_mode=True,
        base_model_name_or_path=model.active_peft_config.base_model_name_or_path,
    )  # fmt: skip
    tensors = {}
    for name, factors in parts.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.cat([a.to(factors[-1][0]) for a, _ in factors])
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.cat([b.to(factors[-1][1]) for _, b in factors], 1)
    save_tensors(folder / "adapter_model.safetensors", tensors)
    config.save_pretrained(str(folder))


def _factors(model: Any) -> Factors | None:
    """The active LoRA's factors; None if it is more than matrices beside linear layers."""
    from peft.tuners.lora import LoraLayer

    found: Factors = {}
    inner = model.get_base_model()
    for name, module in inner.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        (active,) = module.active_adapters
        plain = (
            not hasattr(module, "parameter_name")
            and active in module.lora_A
            and not module.lora_variant
            and not module.lora_bias[active]
        )
        if not plain or module.lora_A[active].weight.ndim != 2:
            return None
        a, b = (cast(Tensor, side[active].weight) for side in (module.lora_A, module.lora_B))
        found[name] = (a, b * module.scaling[active])
    return found
