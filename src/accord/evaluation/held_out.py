"""How well a policy does at its own task on data that it does not train on."""

from collections.abc import Sequence
from typing import Any

import torch

from accord.engine import Algorithm, Mean, Rows, Step
from accord.engine.algorithm import add


@torch.no_grad()
def held_out(algorithm: Algorithm, rows: Sequence[Any], batch_size: int = 8) -> dict[str, float]:
    """An algorithm's loss on these rows, and whatever it measures beside it: means over all of them.

    Levels, noise and whatever else it draws are the same each time, so that what changes is the policy.

    Args:
        batch_size: rows of one forward pass, at least; so many or fewer rows are one batch.
    """
    total: dict[str, Mean] = {}
    parts = max(1, len(rows) // batch_size)
    for i in range(parts):
        loss = algorithm(algorithm.experience(Rows(rows[i::parts]), Step(i, 0)))
        add(total, {"loss": Mean(float(loss.sum), loss.weight), **loss.metrics})
    return {name: mean.value for name, mean in total.items()}
