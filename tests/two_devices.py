"""Two devices: the CPU and another one, a pretended one or the one that ACCORD_DEVICE names; what is done on both must come out alike.

The pretended device computes on the CPU and refuses tensors of the CPU: what is put together across devices can't pass unseen.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

from accord.algorithms import RoundMethod
from accord.engine import fit

CPU = torch.device("cpu")
if (named := os.environ.get("ACCORD_DEVICE")) is None:
    import faraway  # while tests are collected: autograd learns of devices in a process's first backward pass
FAR = torch.device(named) if named else faraway.FAR


def fit_on(device: torch.device) -> None:
    """Where `fit` finds its accelerator."""
    PartialState()
    for state in (PartialState._shared_state, AcceleratorState._shared_state):
        if "device" in state:
            state["device"] = device


def on(device: torch.device, do: Callable[[], Any]) -> Any:
    """What comes of something done where `fit` trains on this device."""
    before = PartialState().device
    fit_on(device)
    try:
        return do()
    finally:
        fit_on(before)


def first_step(algorithm: Any, data: Any, **options: Any) -> dict[str, float]:
    """What is measured of a first step."""
    learn = algorithm.fit if isinstance(algorithm, RoundMethod) else partial(fit, algorithm)
    row = learn(data, steps=1, batch_size=2, progress=False, **options).metrics[0]
    assert row[next(k for k in row if k.startswith("grad_norm"))] > 0
    return {k: v for k, v in row.items() if k not in ("seconds", "step")}


def same(found: dict[str, float], should: dict[str, float], rel: float = 2e-4, absolute: float = 1e-4) -> None:
    """All but accuracies among ties: before a first step a policy is its reference, and rounding alone says who is ahead."""
    assert found.keys() == should.keys()
    ahead = should.get("margin", should.get("reward_good", 1.0) - should.get("reward_bad", 0.0))
    for name, value in should.items():
        if name != "accuracy" or abs(ahead) > absolute:
            assert found[name] == pytest.approx(value, rel=rel, abs=absolute), name


def both(far: torch.device, do: Callable[[torch.device], dict[str, float]], **within: float) -> None:
    """The same on the device as on the CPU."""
    same(on(far, lambda: do(far)), on(CPU, lambda: do(CPU)), **within)
