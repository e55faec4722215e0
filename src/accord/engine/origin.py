"""What a run began with: written in run.json, and compared when the run goes on."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from accord.engine.run import Run
from accord.engine.settings import described, settings_of
from accord.engine.sharding import here
from accord.engine.training import Training
from accord.errors import RunError

HARMLESS = ("micro_batch_size", "checkpoint_every", "keep", "evaluate_every", "trackers", "progress")
"""Options that change nothing of what a step does."""
SAMPLE = 1000
"""Rows of data, and numbers of a tensor, that are looked at: spread evenly, so that a large one costs no more."""

SHOWN = 5
"""Differences that an error names."""


def origin(algorithm: Any, data: Sequence[Any], training: Training, steps: int, processes: int) -> dict[str, Any]:
    """All that the result of a run depends on, as JSON can say it."""
    options = {k: v for k, v in options_of(training).items() if k not in ("steps", "epochs")}
    if training.schedule != "constant" or training.warmup:
        options["steps"] = steps  # the learning rate of each step depends on their number
    told = {
        "algorithm": algorithm.settings() if hasattr(algorithm, "settings") else settings_of(algorithm),
        "training": options,
        "model": weights_of(algorithm.trainables),
        "data": rows_fingerprint(data),
        "processes": processes,
    }
    return json.loads(json.dumps(told, default=str))


def options_of(training: Training) -> dict[str, Any]:
    """The options that a result depends on."""
    told = {k: described(v) for k, v in vars(training).items() if k not in HARMLESS}
    return told if training.select is None else {**told, "evaluate_every": training.evaluate_every}


def compare(run: Run, now: dict[str, Any], at: str, *, anyway: bool) -> tuple[dict[str, Any], list[str]]:
    """What a run that goes on counts as begun with, and what was changed on its way so far.

    Args:
        now: what it would begin with today. at: where it goes on from. anyway: whatever differs.

    Raises:
        RunError: something differs, or run.json can't tell.
    """
    try:
        told = run.info
    except RunError:
        if not anyway:
            raise
        told = {}
    began, changes = told.get("began", {}), told.get("changes", [])
    # The same models, trained on from where they are, are as good as new ones: the checkpoint is put over both.
    if "ended" in told and now["model"] == told["ended"]:
        now = {**now, "model": began.get("model")}
    odd = differences(began, now) if began else ["run.json doesn't say what it began with"]
    if not odd:
        return began, changes
    if not anyway:
        more = f" (and {len(odd) - SHOWN} more)" if len(odd) > SHOWN else ""
        raise RunError(f"{run.folder} was begun otherwise: {'; '.join(odd[:SHOWN])}{more}; "
                       "go on as it began, or with --resume anyway in spite of it")  # fmt: skip
    return now, [*changes, *(f"from {at} on: {o}" for o in odd)]


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """What is not as it was, each as ``name: old -> new``."""
    if not (isinstance(old, dict) and isinstance(new, dict)) or old.get("class") != new.get("class"):
        return [] if old == new else [f"{name}: {_short(old)} -> {_short(new)}"]
    return [d for k in {**old, **new} for d in differences(old.get(k), new.get(k), f"{name}.{k}" if name else k)]


def weights_of(models: Mapping[str, nn.Module]) -> dict[str, str]:
    """A fingerprint of each model's weights: all names, shapes and dtypes, some of the numbers."""
    found = {}
    for name, model in models.items():
        h = hashlib.blake2b(digest_size=8)
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            h.update(key.encode())
            _take(h, tensor)
        found[name] = f"fingerprint {h.hexdigest()}"
    return found


def rows_fingerprint(data: Sequence[Any]) -> str:
    """How many rows, and a hash of some that are spread over all."""
    h = hashlib.blake2b(digest_size=8)
    for i in sorted({j * len(data) // SAMPLE for j in range(SAMPLE)} if len(data) > SAMPLE else range(len(data))):
        _take(h, data[i])
    return f"{len(data)} rows, fingerprint {h.hexdigest()}"


def _take(h: Any, value: Any) -> None:
    """Feed a hash with whatever a row may hold; what it has no content for, by the name of its class."""
    h.update(f"<{type(value).__name__}>".encode())
    if isinstance(value, Tensor):
        h.update(f"{tuple(value.shape)}{value.dtype}".encode())
        flat = here(value).reshape(-1)
        h.update(flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, BaseModel):
        _take(h, dict(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _take(h, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _take(h, str(key))
            _take(h, value[key])
    elif isinstance(value, list | tuple):
        h.update(str(len(value)).encode())
        for item in value:
            _take(h, item)
    elif isinstance(value, np.ndarray) or hasattr(value, "tobytes"):  # NumPy's, or a picture of Pillow's
        h.update(value.tobytes())
    elif value is None or isinstance(value, str | bytes | int | float):
        h.update(repr(value).encode())


def _short(value: Any, most: int = 60) -> str:
    if isinstance(value, dict) and "class" in value:
        return str(value["class"])
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 1] + "…"
