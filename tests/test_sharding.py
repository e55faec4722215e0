"""FSDP2: two processes share out the weights, and all else is as with one that has them whole."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.engine import Run
from accord.engine.sharding import asked_for
from accord.errors import ConfigError
from sharing import RUNS, train
from test_processes import FSDP2, SCRIPTS, launch


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes wrote what they saw, and their first one what it trained."""
    folder = tmp_path_factory.mktemp("sharded")
    launch([str(SCRIPTS / "sharded.py"), str(folder)], seconds=500, **FSDP2)
    return folder


@pytest.fixture(scope="module")
def saw(out: Path) -> list[dict[str, Any]]:
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Run, Path]]:
    """The same runs in this process: what they measured, and where their ends are saved."""
    found = {}
    for name in RUNS:
        folder = tmp_path_factory.mktemp("alone")
        algorithm, run = train(name, out=folder / "run")
        algorithm.policy.save(folder)
        found[name] = run, folder
    return found


def saved(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("name", RUNS)
def test_shares_train_to_the_weights_of_a_single_process_and_are_saved_whole(
    name: str, out: Path, saw: list[dict], alone: dict[str, tuple[Run, Path]]
) -> None:
    run, folder = alone[name]
    one, two = saved(folder), saved(out / name)
    assert one.keys() == two.keys()
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-6
    assert saw[0][name]["loss"] == pytest.approx(run.column("loss"), abs=1e-6)
    assert saw[0][name]["weights"] == saw[1][name]["weights"]
    assert {part for mine in saw for part in mine[name]["shares"]} == {0.5}  # before a forward pass, half of a layer


@pytest.mark.parametrize("name", RUNS)
def test_every_process_knows_the_evaluations_of_a_single_one(
    name: str, saw: list[dict], alone: dict[str, tuple[Run, Path]]
) -> None:
    assert saw[0][name]["evaluations"] == saw[1][name]["evaluations"]
    for mine, wanted in zip(saw[0][name]["evaluations"], alone[name][0].evaluations, strict=True):
        assert mine == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["dpo, lora", "grpo, lora"])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(name: str, saw: list[dict]) -> None:
    for mine in saw:
        assert mine[name]["cut"] == "stopped after step 2 of 4"
        assert mine[name]["resumed"] == mine[name]["weights"]
        assert mine[name]["again"] == [mine[name]["loss"], mine[name]["evaluations"]]


@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_of_shares_is_that_of_a_single_process(
    name: str, out: Path, saw: list[dict], alone: dict[str, tuple[Run, Path]]
) -> None:
    one, two = (p / "checkpoints" / "step-000004" for p in (alone[name][1] / "run", out / f"{name} whole"))
    for file in ("policy", "policy.optimizer", "ema.extra", "best.extra"):
        a, b = (load_file(p / f"{file}.safetensors") for p in (one, two))
        assert a.keys() == b.keys()
        assert max(float((a[k].double() - b[k].double()).abs().max()) for k in a) < 1e-6


def test_after_a_run_models_are_as_they_were_given(saw: list[dict]) -> None:
    assert all(mine[name]["as before"] for mine in saw for name in RUNS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "deepspeed"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "mixed_precision bf16"),
        ({**FSDP2, "FSDP_VERSION": "1"}, "first FSDP"),
        ({**FSDP2, "FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params"),
        ({**FSDP2, "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "gradient_checkpointing=True instead"),
    ],
)
def test_settings_that_would_not_be_followed_are_refused(
    settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        asked_for()
