"""Checkpoints from which a run continues bit for bit: weights, optimisers, averages, the algorithm's own state."""

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from accord.engine.run import load_tensors, new_folder, read_json, save_tensors, write_json
from accord.engine.sharding import gathered, share_of
from accord.errors import RunError


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {n: p for n, p in module.named_parameters() if p.requires_grad}


def files(models: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer],
          extra: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:  # fmt: skip
    """The tensors of each file of a checkpoint. All processes must ask; the first one gets them."""
    found = {f"{n}.safetensors": {**trained(m), **dict(m.named_buffers())} for n, m in models.items()}
    found |= {f"{n}.optimizer.safetensors": _flatten(o) for n, o in optimizers.items()}
    found |= {f"{n}.extra.safetensors": tensors for n, tensors in extra.items() if tensors}
    return {name: gathered(tensors) for name, tensors in found.items()}


def save(folder: Path, step: int, files: dict[str, dict[str, Tensor]], *, keep: int, best: bool = False) -> Path:
    """Write checkpoints/step-N (or checkpoints/best) whole, then drop all but the last `keep`."""
    path = folder / "checkpoints" / ("best" if best else f"step-{step:06d}")
    with new_folder(path) as part:
        for name, tensors in files.items():
            save_tensors(part / name, tensors)
        write_json(part / "state.json", {"step": step, "files": sorted(files)})
    if not best:
        for old in _complete(folder)[:-keep]:
            shutil.rmtree(old)
    return path


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run; one that a kill left half written lies under another name."""
    found = _complete(folder)
    return found[-1] if found else None


def _complete(folder: Path) -> list[Path]:
    found = (p for p in (folder / "checkpoints").glob("step-*") if re.fullmatch(r"step-\d+", p.name))
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))


def check(path: Path) -> int:
    """The step of a checkpoint whose files are all there and whole.

    Raises:
        RunError: one is missing or cut.
    """
    mend = f"delete {path} to go on from the checkpoint before it (from the start, if there is none)"
    state = read_json(path / "state.json", mend=mend)
    try:
        for name in state.get("files", []):
            with safe_open(path / name, "pt"):  # reads no more than where the tensors lie
                pass
        return int(state["step"])
    except (OSError, SafetensorError) as error:
        raise RunError(f"can't read {path / name}: {error}; {mend}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path / 'state.json'} doesn't say the step; {mend}") from error


def load(path: Path, models: dict[str, nn.Module],
         optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, dict[str, Tensor]]:  # fmt: skip
    """Put a checkpoint (that `check` found whole) back; returns the extra state by name."""
    for name, model in models.items():
        load_weights(path / f"{name}.safetensors", model)
    for name, optimizer in optimizers.items():
        _unflatten(optimizer, load_tensors(path / f"{name}.optimizer.safetensors"))
    return {p.name.removesuffix(".extra.safetensors"): load_tensors(p) for p in path.glob("*.extra.safetensors")}


def load_weights(path: Path, model: nn.Module) -> None:
    """Put one trainable's weights back; raises RunError where they are another model's."""
    if not path.is_file():
        raise RunError(f"{path.parent} has no {path.name}: it is a checkpoint of another algorithm")
    saved, own = load_tensors(path), {**trained(model), **dict(model.named_buffers())}
    odd = sorted(saved.keys() ^ own.keys()) or [k for k in own if own[k].shape != saved[k].shape]
    if odd:
        raise RunError(
            f"{path} is of another model (first difference: {odd[0]}); resume with the options it began with"
        )
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(share_of(saved[key], tensor))


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {f"{i}/{key}": torch.as_tensor(v) for i, slots in state.items() for key, v in slots.items()}


def _unflatten(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        index, slot = key.split("/", 1)
        state.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    # Files hold no strides, and fused kernels go through a weight's memory and its moments' side by side.
    for p, slots in optimizer.state.items():
        for key, value in slots.items():
            if value.shape == p.shape:
                slots[key] = torch.empty_like(p, dtype=value.dtype).copy_(share_of(value, p))
