"""Recipes: every method runs by a file that a command wrote, on what the package brings along."""

import json
import re
from pathlib import Path

import pytest
import yaml

from accord.cli import main
from accord.cli.methods import Trainer, names
from accord.cli.recipes import FOLDER, OWN

TRAINERS = {t.name: t for t in map(Trainer.find, names())}


def test_recipes_are_listed_copied_and_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert len(names) >= 3
    for name in names:
        assert main(["recipes", "copy", name]) == 0
        command = (tmp_path / f"{name}.yaml").read_text().splitlines()[1].lstrip("# ").split()[1:]
        command = command[: next(i for i, w in enumerate(command) if w.endswith(".yaml"))]
        capsys.readouterr()
        assert main([*command, f"{name}.yaml", "--print_config"]) == 0
        assert re.search(r"^(policy|model): ", capsys.readouterr().out, re.MULTILINE)
    assert main(["recipes", "copy", names[0]]) == 2, "never overwrites"


@pytest.mark.parametrize("name", TRAINERS)
def test_a_methods_recipe_is_understood_and_says_its_defaults(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{name}.yaml"
    assert main(["recipes", "write", name, "--to", str(path)]) == 0
    assert main(["recipes", "write", name, "--to", str(path)]) == 2, "never overwrites"
    capsys.readouterr()
    assert main(["align", str(path), "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    written = yaml.safe_load(path.read_text())
    assert {k: config[k] for k in written if k not in ("sampling", "training")} == {
        k: v for k, v in written.items() if k not in ("sampling", "training")
    }
    defaults = {n: o.default for n, o in TRAINERS[name].options.items() if n not in OWN.get(name, {})}
    assert {n: written[n] for n in defaults} == {n: v if v is None or isinstance(v, bool | int | float | str) else str(v) for n, v in defaults.items()}  # fmt: skip


SMALL = {
    "steps": "--sampling.steps=2",
    "last": "--last=2",
    "rounds": "--rounds=1",
    "samples": "--samples=4",
}
"""Options of drawing and of rounds, cut short."""


@pytest.mark.parametrize("name", TRAINERS)
def test_a_methods_recipe_takes_a_step_and_is_measured_before_and_after(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "write", name]) == 0
    written = yaml.safe_load(Path(f"{name}.yaml").read_text())
    short = [SMALL[k] for k in {**written, **written.get("sampling", {})}.keys() & SMALL.keys()]
    few = ["--limit=16", "--test=0.3", "--test_limit=2"]
    one = ["--training.steps=1", "--training.batch_size=2", "--training.progress=false"]
    assert main(["align", f"{name}.yaml", *few, *one, *short]) == 0
    result, run = (json.loads((Path("runs") / name / f"{f}.json").read_text()) for f in ("result", "run"))
    assert run["ended"].keys() == run["began"]["model"].keys()
    assert run["ended"].items().isdisjoint(run["began"]["model"].items()), "every model has learned"
    before, after = result["before"], result["after"]
    assert (before.keys(), before["step"], after["step"]) == (after.keys(), 0, run["steps"])
    told = {"accuracy", "loss"} | {k for k in before if k.startswith("reward/")}
    assert told & before.keys()


REAL = sorted(p.stem for p in FOLDER.glob("*.yaml") if "policy: smollm2" in p.read_text())
ONE = [
    "--limit=12",
    "--test=0.3",
    "--test_limit=1",
    "--training.batch_size=1",
    "--training.schedule=constant",
    "--training.warmup=0",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_recipe_on_real_data_loads_steps_saves_and_goes_on(
    name: str, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    data = data_folder / Path(written["data"]).relative_to("../shared/data")
    few = ["--sampling.max_new_tokens=8", "--group_size=2"] if "sampling" in written else []
    call = [
        "align",
        str(FOLDER / f"{name}.yaml"),
        f"--data={data}",
        "--out=run",
        *ONE,
        *few,
        "--training.progress=false",
    ]
    assert main([*call, "--training.steps=1"]) == 0
    assert main([*call, "--training.steps=2", "--resume"]) == 0
    assert json.loads(Path("run/result.json").read_text())["steps"] == 2
    assert (Path("run") / "policy" / "adapter_model.safetensors").is_file()
