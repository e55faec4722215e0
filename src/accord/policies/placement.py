"""Where models lie and in which precision: "auto" for both, and frozen parts that go where their owner goes."""

import os
from collections.abc import Callable
from itertools import chain
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from accord.errors import ConfigError

Device = str | torch.device
Dtype = str | torch.dtype
Part = TypeVar("Part")


def device_of(device: Device = "auto") -> torch.device:
    """The device that a name stands for; "auto" is this process's accelerator, or the CPU where there is none.

    Raises:
        ConfigError: there is no such device.
    """
    if str(device) == "auto":
        kind = torch.accelerator.current_accelerator(check_available=True)
        if kind is None or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
            return torch.device("cpu")
        return torch.device(kind.type, int(os.environ.get("LOCAL_RANK", 0)) % torch.accelerator.device_count())
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).strip().splitlines()[0]
        raise ConfigError(f"device={str(device)!r} can't be used: {why} (auto takes what there is)") from None
    return found


def dtype_of(dtype: Dtype, device: torch.device, *, trains: bool = False) -> torch.dtype:
    """The precision that a name stands for: "auto" is bfloat16 on an accelerator that has it, else float32.

    Args:
        trains: whether these very weights train (not only adapters on them). "auto" keeps those in float32: AdamW's
            small steps would be rounded away in bfloat16.

    Raises:
        ConfigError: there is no such precision.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        wide = trains or device.type == "cpu" or (device.type == "cuda" and not torch.cuda.is_bf16_supported())
        return torch.float32 if wide else torch.bfloat16
    names = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    found = getattr(torch, names.get(dtype, dtype), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype={dtype!r} is none of auto, float32, bfloat16, float16")
    return found


class Aside(nn.Module):
    """Frozen parts beside their owner: they go to its device and precision, but are nobody's to train, save or wrap.

    Indexing gives the parts back. Anything with `_apply` (modules, frozen policies) is moved; others stay as they are.
    """

    _parts: tuple[Any, ...]

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_parts", parts)

    def __getitem__(self, i: int) -> Any:
        return self._parts[i]

    def __len__(self) -> int:
        return len(self._parts)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for part in self._parts:
            if hasattr(part, "_apply"):
                part._apply(fn)
        return self


def beside(part: Part, x: Tensor) -> Part:
    """A frozen network brought to the device of what it is to read, in its own precision; any other thing as it is."""
    if isinstance(part, nn.Module) and any(w.device != x.device for w in chain(part.parameters(), part.buffers())):
        part.to(x.device)
    return part
