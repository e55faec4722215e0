"""Several processes: they take the steps that one would take, equally many each, and end together."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import pooled
from accord import cli
from accord.engine.dealing import deal
from accord.rewards import BradleyTerry
from accord.worlds import letters
from line import Picky, train, weights
from test_collaborative import cut_up

SCRIPTS = Path(__file__).parent / "scripts"
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",  # accelerate's own default
}


def launch(script: Sequence[str], seconds: float, **settings: str) -> str:
    """What a script says on two processes, under accelerate's settings; one that hangs is killed."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script]
    both = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "ACCELERATE_USE_CPU": "true", **settings}, start_new_session=True)  # fmt: skip
    try:
        said, _ = both.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(both.pid, signal.SIGKILL)
        pytest.fail(f"hangs; it said: {both.communicate()[0][-2000:]}")
    assert both.returncode == 0, said  # all of it: the launcher's own words come last
    return said


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 6), st.integers(1, 4) | st.none(), st.integers(0, 9))  # fmt: skip
def test_every_process_gets_as_many_minibatches_and_forward_passes_and_every_row_once(
    sizes: list[int], minibatches: int, micro: int | None, seed: int
) -> None:
    dealt = [deal(sizes, r, minibatches, micro, torch.Generator().manual_seed(seed)) for r in range(len(sizes))]
    shapes = {tuple(len(pieces) for pieces in mine) for mine in dealt}
    assert len(shapes) == 1
    assert len(dealt[0]) == min(minibatches, sum(sizes))
    assert all(0 < len(p.rows) <= (micro or 9) for mine in dealt for pieces in mine for p in pieces)
    assert all(
        0 <= i < n for n, mine in zip(sizes, dealt, strict=True) for pieces in mine for p in pieces for i in p.rows
    )
    for n, mine in zip(sizes, dealt, strict=True):
        assert sorted(i for pieces in mine for p in pieces if p.counts for i in p.rows) == list(range(n))
    together = [sum(len(p.rows) for mine in dealt for p in mine[k] if p.counts) for k in range(len(dealt[0]))]
    assert max(together) - min(together) <= 1


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes saw; the first one's folder of runs comes along as `out`."""
    out = tmp_path_factory.mktemp("processes")
    rows = [{"prompt": t.prompt, "chosen": f"it is {i} .", "rejected": "no ."} for i, t in enumerate(letters.tasks(40))]
    (out / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    launch([str(SCRIPTS / "processes.py"), str(out)], seconds=200)
    return [{**json.loads((out / f"{rank}.json").read_text()), "out": out} for rank in range(2)]


def test_one_with_less_to_do_keeps_in_step_and_the_gradient_is_that_of_the_global_mean(seen: list[dict]) -> None:
    alone, _ = train(Picky(), steps=4, batch_size=4)
    for mine in seen:
        assert mine["picky"] == pytest.approx(weights(alone), rel=1e-12)
    assert seen[0]["picky passes"] == seen[1]["picky passes"] > 4
    assert seen[0]["picky cut"] == seen[1]["picky cut"]


def test_peers_pick_from_the_batch_of_both_processes(seen: list[dict]) -> None:
    alone = cut_up()
    for mine in seen:
        assert mine["peers"][0] == alone.picked.tolist()
        assert torch.allclose(torch.tensor(mine["peers"][1]), alone.leads, atol=2e-3)


def test_the_first_process_encodes_prompts_for_all(seen: list[dict]) -> None:
    assert [mine["encoded"] for mine in seen] == [4, 0], "three, and the blank one"


def test_where_all_rewards_of_a_process_are_none_both_take_all_steps(seen: list[dict]) -> None:
    assert seen[0]["grpo passes"] == seen[1]["grpo passes"] == 2 * 2
    assert seen[0]["grpo"] == seen[1]["grpo"]


def test_what_fails_on_one_process_ends_all_and_all_say_why(seen: list[dict]) -> None:
    hit = int("NumericsError" in seen[1]["nan"])
    assert seen[hit]["nan"].startswith("NumericsError: loss became nan in step 1")
    assert f"process {hit} failed: loss became nan" in seen[1 - hit]["nan"]
    assert (seen[0]["out"] / "nan" / "failed-batch" / f"process-{hit}" / "batch.json").is_file()
    assert seen[1]["broken"] == "ValueError: no luck"
    assert seen[0]["broken"] == "OtherFailed: process 1 failed: no luck"


def test_a_ctrl_c_that_reaches_one_process_stops_both_after_the_same_step(seen: list[dict]) -> None:
    assert [mine["pressed"] for mine in seen] == ["Interrupted: stopped after step 3 of 6"] * 2


def test_processes_with_different_data_are_refused(seen: list[dict]) -> None:
    for mine in seen:
        assert mine["unlike"].startswith("RunError: process 1 has data 23 rows")


def test_one_process_evaluates_and_all_know_what_it_found(seen: list[dict]) -> None:
    assert seen[0]["evaluations"] == seen[1]["evaluations"]
    assert [e["process"] for e in seen[0]["evaluations"]] == [0.0] * 4
    lines = (seen[0]["out"] / "run" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == seen[0]["evaluations"]
    # The evaluation called the reward on one process; what all learn from is the same all the same.
    assert seen[0]["statistics"] == seen[1]["statistics"]
    assert seen[0]["statistics"][0] == 6 * 12


def test_the_first_process_writes_and_the_others_wait(seen: list[dict]) -> None:
    assert [mine["main"] for mine in seen] == [True, False]
    assert [mine["gathered"] for mine in seen] == [[0, 1], [0, 1]]
    assert [mine["read"] for mine in seen] == ["whole", "whole"]


def test_both_train_a_reward_by_a_command_and_one_writes_it(seen: list[dict]) -> None:
    assert [mine["command"] for mine in seen] == [0, 0]
    said = "".join((seen[0]["out"] / f"{rank}.said").read_text() for rank in range(2))
    assert said.count("read 40 records") == said.count("held-out accuracy") == said.count("report: ") == 1
    assert BradleyTerry.load(seen[0]["out"] / "reward" / "model").has_opinions


def test_a_mistake_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "ENDED_BY", 0.0)  # as if the first process hadn't ended this one meanwhile
    for rank, said in (("0", "accord: "), ("1", "accord: process 1: ")):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(["align", "nonesuch"]) == 2
        assert capsys.readouterr().err.startswith(f"{said}no method")
    cli.complain("all know it", known=True)
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process alone wrote what it trained."""
    folder = tmp_path_factory.mktemp("one")
    pooled.train(folder)
    return folder


@pytest.mark.parametrize("kind", ["dpo", "ppo", "backprop"])
def test_two_processes_take_the_step_of_one(kind: str, once: Path, seen: list[dict]) -> None:
    """Ragged rows; PPO trains two models, backprop passes through one several times. The only difference left is the order of summation."""
    a, b = (load_file(folder / kind) for folder in (once, seen[0]["out"]))
    assert a.keys() == b.keys()
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 2e-4  # of a step of 2e-3
