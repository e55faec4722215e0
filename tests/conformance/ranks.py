"""Recipes on several processes: ranks.py MODELS OUT RECIPE…; the first writes the weights, if all have the same."""

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from safetensors.torch import save_file

from accord.engine import fit
from accord.engine.store import fingerprint
from conformance.recipes import RECIPES, trained

torch.set_num_threads(1)
PartialState(cpu=True)
models, out, recipes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
for recipe in recipes:
    made, rows = RECIPES[recipe]
    algorithm = made(models)
    fit(algorithm, rows, steps=2, batch_size=4, lr=1e-3, progress=False)
    found = gather_object([fingerprint(m) for m in algorithm.trainables.values()])
    assert len(set(found)) == len(algorithm.trainables), f"{recipe}: the processes' weights differ"
    if PartialState().is_main_process:
        save_file({k: v.contiguous() for k, v in trained(algorithm).items()}, out / f"{recipe}.safetensors")
