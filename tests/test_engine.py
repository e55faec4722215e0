"""The loop: the gradient of a mean however it is cut, exact resume, nothing lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from accord.engine import Learner, Loss, Mean, Rows, Run, Training, derive, fit
from accord.engine.run import new_folder, write_text
from accord.engine.store import Store, fingerprint
from accord.errors import ConfigError, NumericsError, RunError

SCRIPTS = Path(__file__).parent / "scripts"


class Line(Learner):
    """Least squares on rows (x, y, weight): the smallest algorithm there is."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1).double()
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"line": self.line}

    def forward(self, rows: Rows) -> Loss:
        x, y, w = torch.tensor(rows, dtype=torch.float64).T
        error = (self.line(x[:, None])[:, 0] - y).square()
        return Loss((w * error).sum(), float(w.sum()), {"error": Mean.of(error)})


DATA = [(float(i % 7) / 7, 2.0 * (i % 7) / 7 + 1, 1.0 + i % 3) for i in range(24)]


def weights(algorithm: Line) -> tuple[float, float]:
    return float(algorithm.line.weight), float(algorithm.line.bias)


def train(**options) -> tuple[Line, Run]:  # type: ignore[no-untyped-def]
    algorithm = Line()
    return algorithm, fit(algorithm, DATA, **{"steps": 6, "batch_size": 12, "lr": 0.05, "progress": False, **options})


@pytest.mark.parametrize("size", [1, 5, 7, 12])
def test_accumulation_never_changes_the_gradient(size: int) -> None:
    """Ragged weights, ragged pieces: the mean is over the whole batch."""
    whole, pieces = train(), train(micro_batch_size=size)
    assert weights(pieces[0]) == pytest.approx(weights(whole[0]), rel=1e-9)
    assert pieces[1].column("loss") == pytest.approx(whole[1].column("loss"))
    assert pieces[1].column("grad_norm") == pytest.approx(whole[1].column("grad_norm"))


def test_one_step_is_adam_on_the_weighted_mean() -> None:
    algorithm, run = train(steps=1, batch_size=24, max_grad_norm=0.0)
    x, y, w = torch.tensor(DATA, dtype=torch.float64).T
    gradient = (2 * w * (0 - y) * x).sum() / w.sum()
    bias = (2 * w * (0 - y)).sum() / w.sum()
    assert run.metrics[0]["grad_norm"] == pytest.approx(float((gradient**2 + bias**2).sqrt()), rel=1e-6)
    assert weights(algorithm) == pytest.approx((0.05, 0.05), rel=1e-4)


def test_clipping_bounds_the_step_of_plain_gradients() -> None:
    _, free = train(max_grad_norm=0.0)
    _, clipped = train(max_grad_norm=1e-3)
    assert free.metrics[0]["grad_norm"] == pytest.approx(clipped.metrics[0]["grad_norm"])


def test_every_row_is_seen_once_a_pass_in_an_order_of_the_seed() -> None:
    seen: list[list[float]] = []

    class Spy(Line):
        def forward(self, rows: Rows) -> Loss:
            seen.append([r[0] for r in rows])
            return super().forward(rows)

    rows = [(float(i), 0.0, 1.0) for i in range(10)]
    fit(Spy(), rows, steps=5, batch_size=4, progress=False)
    flat = [x for batch in seen for x in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == [float(i) for i in range(10)]
    assert flat[:10] != flat[10:]


@given(st.sampled_from(["constant", "linear", "cosine"]), st.floats(0, 0.9), st.integers(1, 50))
def test_schedules_warm_up_to_one_and_never_leave_the_unit_interval(shape: str, warmup: float, updates: int) -> None:
    o = Training(schedule=shape, warmup=warmup)  # type: ignore[arg-type]
    factors = [o.lr_factor(i, updates) for i in range(updates)]
    assert all(0 <= f <= 1 for f in factors)
    warm = round(warmup * updates)
    assert factors[:warm] == sorted(factors[:warm])
    if shape != "constant":
        assert factors[warm:] == sorted(factors[warm:], reverse=True)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=3), st.text(max_size=5))
@settings(max_examples=50)
def test_derived_seeds_differ_by_place_and_purpose(where: list[int], purpose: str) -> None:
    assert derive(0, *where, purpose=purpose) == derive(0, *where, purpose=purpose)
    assert derive(0, *where, purpose=purpose) != derive(1, *where, purpose=purpose)
    assert derive(0, *where, purpose=purpose) != derive(0, *where, purpose=purpose + "x")


def test_resume_after_a_stop_is_bit_for_bit(tmp_path: Path) -> None:
    for ema in (None, 0.9):
        whole, run = train(steps=8, ema=ema, minibatches=2, inner_epochs=2, schedule="cosine", out=tmp_path / f"a{ema}")

        class Stops(Exception):
            pass

        def stop(step: int) -> dict[str, float]:
            if step == 5:
                raise Stops
            return {}

        options = {
            "steps": 8,
            "ema": ema,
            "minibatches": 2,
            "inner_epochs": 2,
            "schedule": "cosine",
            "checkpoint_every": 2,
        }
        with pytest.raises(Stops):
            train(**options, out=tmp_path / f"b{ema}", evaluate=stop, evaluate_every=5)
        again, resumed = train(**options, out=tmp_path / f"b{ema}", resume=True)
        assert weights(again) == weights(whole)
        assert [{k: v for k, v in m.items() if k != "seconds"} for m in resumed.metrics] == [
            {k: v for k, v in m.items() if k != "seconds"} for m in run.metrics
        ]


def test_ema_follows_its_recursion() -> None:
    plain, averaged = [train(steps=s)[0] for s in (1, 2)], train(steps=2, ema=0.5)[0]
    a, b = (torch.tensor(weights(p)) for p in plain)
    assert torch.tensor(weights(averaged)) == pytest.approx(0.5 * (0.5 * a) + 0.5 * b, rel=1e-6)


def test_kill_nine_and_resume_gives_identical_weights_and_metrics(tmp_path: Path) -> None:
    """A real run of the command line's kind, killed in mid-run without a chance to say goodbye."""
    script = SCRIPTS / "resumable.py"

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(script), str(folder)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    assert start(tmp_path / "whole").wait(240) == 0
    broken = start(tmp_path / "broken")
    metrics = tmp_path / "broken" / "metrics.jsonl"
    until = time.monotonic() + 200
    while time.monotonic() < until and not (metrics.is_file() and metrics.read_text().count("\n") >= 4):
        time.sleep(0.02)
    os.kill(broken.pid, signal.SIGKILL)
    broken.wait()
    assert metrics.read_text().count("\n") < 12
    assert start(tmp_path / "broken").wait(240) == 0
    a, b = (load_file(tmp_path / n / "final.safetensors") for n in ("whole", "broken"))
    assert all(torch.equal(a[k], b[k]) for k in a)

    def told(name: str) -> list[dict]:
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in r.items() if k != "seconds"} for r in rows]

    assert told("whole") == told("broken")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "resumable.py"), str(tmp_path / "r"), "1000"], stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "r" / "metrics.jsonl"
    until = time.monotonic() + 200
    while time.monotonic() < until and not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    done = len(metrics.read_text().splitlines())
    assert f"stopped after step {done} of 1000" in said
    assert "--resume" in said
    assert (tmp_path / "r" / "checkpoints" / f"step-{done:06d}" / "state.json").is_file()
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize("kind", ["dpo", "ppo", "backprop"])
def test_two_processes_take_the_step_of_one(kind: str, tmp_path: Path) -> None:
    """Ragged rows; PPO trains two models, backprop passes through one several times. The only difference left is the order of summation."""
    script = [str(SCRIPTS / "two_processes.py"), kind]
    alone = subprocess.run(
        [sys.executable, *script, str(tmp_path / "one")], capture_output=True, text=True, timeout=240
    )
    assert alone.returncode == 0, alone.stderr[-2000:]
    with socket.socket() as probe:  # two tests of one moment must not meet at one port
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]  # fmt: skip
    both = subprocess.run([sys.executable, *launch, *script, str(tmp_path / "two")], capture_output=True, text=True,
                          timeout=280, env={**os.environ, "ACCELERATE_USE_CPU": "true"})  # fmt: skip
    assert both.returncode == 0, both.stderr  # all of it: the launcher's own words come last
    assert "processes 2" in both.stdout
    a, b = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    assert a.keys() == b.keys()
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 2e-4  # of a step of 2e-3


def test_nan_stops_the_run_and_saves_the_batch(tmp_path: Path) -> None:
    rows = [*DATA, (float("nan"), 1.0, 1.0)]
    with pytest.raises(NumericsError, match="failed-batch") as error:
        fit(Line(), rows, steps=5, batch_size=25, out=tmp_path / "r", progress=False)
    assert "\n" not in str(error.value)
    saved = json.loads((tmp_path / "r" / "failed-batch" / "batch.json").read_text())
    assert len(saved) == 25


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_ends_with_the_weights_that_a_measure_likes_best(
    tmp_path: Path, ema: float | None, resumed: bool
) -> None:
    quality = [0.0, 5.0, 1.0, 2.0]
    at: dict[int, tuple[float, float]] = {}
    algorithm = Line()

    def measure(step: int) -> dict[str, float]:
        at[step] = weights(algorithm)
        return {"quality": quality[step]}

    options: Any = {"batch_size": 8, "lr": 0.1, "evaluate": measure, "evaluate_every": 1, "select": "quality", "ema": ema,
                    "out": tmp_path / "r", "progress": False}  # fmt: skip
    if resumed:
        fit(algorithm, DATA, steps=2, **options)
        algorithm = Line()
        fit(algorithm, DATA, steps=3, resume=True, **options)
    else:
        fit(algorithm, DATA, steps=3, **options)
    assert weights(algorithm) == at[1] != at[3]


def test_a_measure_that_is_not_a_number_is_never_best() -> None:
    at: dict[int, tuple[float, float]] = {}
    algorithm = Line()

    def measure(step: int) -> dict[str, float]:
        at[step] = weights(algorithm)
        return {"quality": float("nan") if step % 2 == 0 else float(step)}

    fit(algorithm, DATA, steps=4, batch_size=8, lr=0.1, evaluate=measure, evaluate_every=1, select="quality", progress=False)  # fmt: skip
    assert weights(algorithm) == at[3]


def test_weights_are_chosen_without_a_folder_too() -> None:
    at: dict[int, tuple[float, float]] = {}
    algorithm = Line()

    def measure(step: int) -> dict[str, float]:
        at[step] = weights(algorithm)
        return {"quality": -abs(step - 2.0)}

    fit(
        algorithm,
        DATA,
        steps=4,
        batch_size=8,
        lr=0.1,
        evaluate=measure,
        evaluate_every=1,
        select="quality",
        progress=False,
    )
    assert weights(algorithm) == at[2]


def test_a_second_run_never_overwrites_a_first(tmp_path: Path) -> None:
    train(out=tmp_path / "r")
    with pytest.raises(RunError, match="already holds a run"):
        train(out=tmp_path / "r")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(out=tmp_path / "r")
    other = Line()
    other.line = nn.Linear(1, 2).double()
    with pytest.raises(RunError, match="model.line: "):
        fit(other, DATA, steps=9, batch_size=12, lr=0.05, out=tmp_path / "r", resume=True, progress=False)
    with pytest.raises(RunError, match="another model"):
        fit(other, DATA, steps=9, batch_size=12, lr=0.05, out=tmp_path / "r", resume="anyway", progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"ema": 1.0},
        {"warmup": 1.0},
        {"minibatches": 9, "batch_size": 8},
        {"micro_batch_size": 0},
    ],
)
def test_options_out_of_range_are_refused_at_once(options: dict) -> None:
    with pytest.raises(ConfigError):
        Training(**options)


def test_no_data_and_an_unknown_tracker_are_refused() -> None:
    with pytest.raises(ConfigError, match="no rows"):
        fit(Line(), [], steps=1)
    with pytest.raises(ConfigError, match="Unsupported logging capability"):
        fit(Line(), [1.0], steps=1, trackers=("nonsense",))


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path: Path) -> None:
    """/dev/full is a disk that is always full."""
    target = tmp_path / "x.txt"
    write_text(target, "old")
    with pytest.raises(RunError, match="can't write"):
        write_text(Path("/dev/full/x"), "new")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "f") as part:
        (part / "half").write_text("…")
        raise RuntimeError
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.txt"]


def test_a_store_keeps_vectors_between_processes_and_tells_contents_apart(tmp_path: Path) -> None:
    keys = [Store.key("model", i) for i in range(3)]
    Store(tmp_path, "s").put({keys[0]: torch.tensor([1.5, -2.0]), keys[1]: torch.tensor([0.0])})
    found = Store(tmp_path, "s").get(keys)
    assert found.keys() == {keys[0], keys[1]}
    assert found[keys[0]].tolist() == [1.5, -2.0]
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint(a) != fingerprint(b)
    b.load_state_dict(a.state_dict())
    assert fingerprint(a) == fingerprint(b)
