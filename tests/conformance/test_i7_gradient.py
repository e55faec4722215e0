"""I7: micro-batches, the order of rows, resuming and whatever ran before in the process leave the gradient as it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from accord.engine import Rows, Step, fit
from accord.policies.diffusion import DiffusionPolicy

from .matrix import Note, spread
from .recipes import RECIPES, gradient, trained

ALONE = "kto"
"""Centred on the mean of its forward pass: its gradient is that of its micro-batch, as its docstring says."""


class StopHere(Exception):
    """A run is cut off in its midst."""


def run(recipe: str, models: Path, **options: Any) -> tuple[Any, Any]:
    made, rows = RECIPES[recipe]
    algorithm = made(models)
    return algorithm, fit(algorithm, rows, **{"steps": 4, "batch_size": 2, "lr": 1e-3, "progress": False, **options})


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r != ALONE])
def test_a_batch_cut_into_pieces_has_the_gradient_of_the_whole(recipe: str, models: Path) -> None:
    made, rows = RECIPES[recipe]
    algorithm = made(models)
    experience = algorithm.experience(Rows(rows), Step(0, 0))
    n = len(experience)
    whole = gradient(algorithm, experience)
    # On pictures rounding is divided by the small noise of last steps, or multiplied by a beta of thousands.
    rounding = (2e-4 if any(isinstance(m, DiffusionPolicy) for m in algorithm.modules()) else 1e-5) * float(
        whole.norm()
    )
    for size in (1, 3):
        pieces = [experience.select(range(i, min(i + size, n))) for i in range(0, n, size)]
        assert float((gradient(algorithm, *pieces) - whole).norm()) < rounding, size
    assert float((gradient(algorithm, experience.select(range(n)[::-1])) - whole).norm()) < rounding, "another order"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_cut_off_and_resumed_ends_with_the_same_bits(
    recipe: str, models: Path, tmp_path: Path, note: Note
) -> None:
    whole, _ = run(recipe, models)

    def stop(done: int) -> dict[str, float]:
        if done == 3:
            raise StopHere
        return {}

    with pytest.raises(StopHere):
        run(recipe, models, out=tmp_path, checkpoint_every=2, evaluate_every=3, evaluate=stop)
    again, log = run(recipe, models, out=tmp_path, checkpoint_every=2, evaluate_every=3, resume=True)
    assert [m["step"] for m in log.metrics] == [1, 2, 3, 4]
    same(trained(whole), trained(again))
    note("methods", recipe, resume="bit for bit")


@pytest.mark.parametrize("recipe", spread(list(RECIPES), ("dpo", "grpo", "ppo", "reward, pairs", "alignprop")))
def test_what_ran_before_in_the_process_changes_no_bit(recipe: str, models: Path, note: Note) -> None:
    first, _ = run(recipe, models, steps=2)
    torch.manual_seed(99)
    torch.rand(1000)
    run("dpo, all weights" if recipe != "dpo, all weights" else "sft", models, steps=1, seed=7)
    second, _ = run(recipe, models, steps=2)
    same(trained(first), trained(second))
    note("methods", recipe, again="the same bits")


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    differing = [k for k in a if not torch.equal(a[k], b[k])]
    assert not differing, f"{len(differing)} of {len(a)} weights differ, the first {differing[0]}"
