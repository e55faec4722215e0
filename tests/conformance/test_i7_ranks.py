"""I7: two processes take the steps that one takes: a row draws the same answers, noise and levels, wherever it is."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from accord.engine import fit
from test_processes import FSDP2, launch

from .matrix import FULL, Note
from .recipes import RECIPES, trained

SCRIPT = str(Path(__file__).parent / "ranks.py")
AS_ONE = [r for r in RECIPES if r != "kto"]  # KTO is centred on the mean of each process's own forward pass


@pytest.mark.skipif(
    not FULL, reason="starting two processes takes long; tests/test_processes.py does so for every run of the suite"
)
@pytest.mark.parametrize("settings", [{}, FSDP2], ids=["whole weights", "weights in shares"])
def test_two_processes_train_as_one(settings: dict[str, str], models: Path, tmp_path: Path, note: Note) -> None:
    began = {recipe: trained(made(models)) for recipe, (made, _) in RECIPES.items()}
    launch([SCRIPT, str(models), str(tmp_path), *RECIPES], seconds=600, **settings)
    for recipe, (made, rows) in RECIPES.items():
        two = load_file(tmp_path / f"{recipe}.safetensors")
        note("methods", recipe, ranks="two train as one" if recipe in AS_ONE else "two end with the same weights")
        if recipe not in AS_ONE:
            continue
        algorithm = made(models)
        fit(algorithm, rows, steps=2, batch_size=4, lr=1e-3, progress=False)
        one = trained(algorithm)
        moved = torch.cat([(w - began[recipe][n]).flatten() for n, w in one.items()]).norm()
        apart = torch.cat([(w - two[n]).flatten() for n, w in one.items()]).norm()
        assert float(apart) < 1e-3 * float(moved), recipe
