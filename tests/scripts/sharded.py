"""Runs on processes that share out their weights; each writes what it saw: sharded.py OUT, with accelerate's FSDP2 on."""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).parents[1]))

import torch
from torch import nn

from accord.engine import on_main
from accord.engine.store import fingerprint
from accord.errors import Interrupted
from sharing import RUNS, train

torch.set_num_threads(1)
out = Path(sys.argv[1])
main = on_main()


def layer(algorithm: Any) -> nn.Module:
    return algorithm.policy.core.model.layers[0]


def shares(algorithm: Any, seen: list[float]) -> Any:
    """Note at every forward pass which part of a layer's weights is here before it is put together."""

    def look(*_: Any) -> None:
        weights = list(layer(algorithm).parameters())
        seen.append(sum(p.to_local().numel() for p in weights) / sum(p.numel() for p in weights))  # type: ignore[attr-defined]

    return algorithm.register_forward_pre_hook(look, prepend=True)


saw: dict[str, Any] = {}
for name in RUNS:
    seen: list[float] = []
    algorithm = RUNS[name][0]()
    kind = type(layer(algorithm))
    hook = shares(algorithm, seen)
    _, run = train(name, algorithm, out=out / f"{name} whole")
    hook.remove()
    saw[name] = {"evaluations": run.evaluations, "loss": run.column("loss"), "weights": fingerprint(algorithm.policy),
                 "shares": seen, "as before": type(layer(algorithm)) is kind and not algorithm._forward_pre_hooks}  # fmt: skip
    if main:
        algorithm.policy.save(out / name)

for name in ("dpo, lora", "grpo, lora"):
    algorithm = RUNS[name][0]()
    folder = out / f"{name} cut"
    try:
        train(name, algorithm, stop=2, out=folder)
    except Interrupted as error:
        saw[name]["cut"] = str(error).partition(";")[0]
    # One goes on with the models that were cut off, the other as a new process would.
    _, run = train(name, algorithm if "dpo" in name else (algorithm := RUNS[name][0]()), out=folder, resume=True)
    saw[name]["resumed"] = fingerprint(algorithm.policy)
    saw[name]["again"] = run.column("loss"), run.evaluations

(out / f"{int(not main)}.json").write_text(json.dumps(saw))
