"""Going on: bit for bit after a kill, and only as it began."""

import dataclasses
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from accord.algorithms import Round, rounds
from accord.engine import Run, Training, fit
from accord.engine.origin import rows_fingerprint, weights_of
from accord.errors import RunError
from accord.feedback import Comparison
from line import DATA, Line, train, weights

SCRIPTS = Path(__file__).parent / "scripts"


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


def test_kill_nine_and_resume_gives_identical_weights_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real run, killed in mid-run without a chance to say goodbye."""
    script, folder = str(SCRIPTS / "resumable.py"), tmp_path / "broken"
    broken = subprocess.Popen([sys.executable, script, str(folder)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    metrics = folder / "metrics.jsonl"
    until = time.monotonic() + 200
    while time.monotonic() < until and not (metrics.is_file() and metrics.read_text().count("\n") >= 4):
        time.sleep(0.02)
    os.kill(broken.pid, signal.SIGKILL)
    broken.wait()
    assert 4 <= metrics.read_text().count("\n") < 12
    for name in ("broken", "whole"):
        monkeypatch.setattr(sys, "argv", [script, str(tmp_path / name)])
        runpy.run_path(script)
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


def test_a_second_run_never_overwrites_a_first(tmp_path: Path) -> None:
    train(out=tmp_path / "r")
    with pytest.raises(RunError, match="already holds a run"):
        train(out=tmp_path / "r")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(out=tmp_path / "r")
    other = Line()
    other.line = nn.Linear(1, 2).double()
    with pytest.raises(RunError, match=r"model\.line: "):
        fit(other, DATA, steps=9, batch_size=12, lr=0.05, out=tmp_path / "r", resume=True, progress=False)
    with pytest.raises(RunError, match="another model"):
        fit(other, DATA, steps=9, batch_size=12, lr=0.05, out=tmp_path / "r", resume="anyway", progress=False)


class Optioned(Line):
    """A line with options of every kind that algorithms have."""

    def __init__(self, size: int = 4, loss: Any = None, credit: Any = None, reward: Any = len) -> None:
        super().__init__()
        self.size, self.loss, self.credit, self.reward = size, loss, credit, reward


@dataclasses.dataclass(frozen=True)
class Clip:
    low: float = 0.2


def shifted() -> Line:
    other = Line()
    nn.init.constant_(other.line.bias, 0.5)
    return other


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"lr": 0.1}, "training.lr: 0.05 -> 0.1"),
    ({"seed": 1}, "training.seed: 0 -> 1"),
    ({"ema": 0.9}, "training.ema: none -> 0.9"),
    ({"batch_size": 8, "minibatches": 2}, "training.batch_size: 12 -> 8; training.minibatches: 1 -> 2"),
    ({"schedule": "linear"}, 'training.schedule: "constant" -> "linear"'),
    ({"data": DATA[:-1]}, 'data: "24 rows'),
    ({"data": [*DATA[:-1], (0.0, 0.0, 1.0)]}, 'data: "24 rows'),
    ({"algorithm": shifted()}, "model.line: "),
    ({"algorithm": Optioned()}, "algorithm: Line -> Optioned"),
]


@pytest.mark.parametrize(("other", "said"), OTHER)
def test_a_run_goes_on_only_as_it_began_unless_told_so(tmp_path: Path, other: dict, said: str) -> None:
    train(steps=2, out=tmp_path / "r")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError) as error:
        train(**{"steps": 4, **other}, out=tmp_path / "r", resume=True)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    if "algorithm" not in other:
        _, run = train(**{"steps": 4, **other}, out=tmp_path / "r", resume="anyway")
        assert len(run.metrics) == 4
        assert run.info["changes"][0].startswith("from step-000002 on: ")
        train(
            **{"steps": 5, **({"steps": 4} if "schedule" in other else {}), **other}, out=tmp_path / "r", resume=True
        )  # it now counts as begun so


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"size": 4}, {"size": 5}, "size: 4 -> 5"),
        ({"loss": partial(max, default=1.0)}, {"loss": partial(max, default=2.0)}, "loss.default: 1.0 -> 2.0"),
        ({"loss": partial(max, default=1.0)}, {"loss": partial(min, default=1.0)}, 'loss.function: "max" -> "min"'),
        ({"credit": Clip(0.2)}, {"credit": Clip(0.3)}, "credit.low: 0.2 -> 0.3"),
        ({"reward": len}, {"reward": sum}, 'reward: "len" -> "sum"'),
    ],
)
def test_settings_of_an_algorithm_are_told_apart_whatever_they_are(
    tmp_path: Path, old: dict, new: dict, said: str
) -> None:
    train(Optioned(**old), steps=2, out=tmp_path / "r")
    with pytest.raises(RunError, match=said):
        train(Optioned(**new), steps=4, out=tmp_path / "r", resume=True)
    train(Optioned(**old), steps=4, out=tmp_path / "r", resume=True)


def test_what_changes_no_result_may_differ_and_the_result_does_not(tmp_path: Path) -> None:
    whole, _ = train(steps=6)
    train(steps=2, out=tmp_path / "r", epochs=3.0)
    free = {"micro_batch_size": 5, "checkpoint_every": 1, "keep": 3, "evaluate_every": 2}
    again, _ = train(steps=6, out=tmp_path / "r", resume=True, **free)
    assert weights(again) == pytest.approx(weights(whole), rel=1e-12)


def test_more_steps_are_no_other_run_unless_a_schedule_counts_them(tmp_path: Path) -> None:
    for options in ({"schedule": "cosine"}, {"warmup": 0.5}):
        out = tmp_path / next(iter(options))
        train(steps=2, out=out, **options)
        with pytest.raises(RunError, match=r"training\.steps: 2 -> 4"):
            train(steps=4, out=out, resume=True, **options)


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_same_object_may_go_on_too(tmp_path: Path, ema: float | None) -> None:
    whole, _ = train(steps=4, ema=ema)
    algorithm, _ = train(steps=2, ema=ema, out=tmp_path / "r")
    with pytest.raises(ZeroDivisionError):
        train(algorithm, steps=4, ema=ema, out=tmp_path / "r", resume=True, checkpoint_every=1, evaluate_every=3,
              evaluate=lambda step: 1 / 0)  # fmt: skip
    assert Run.open(tmp_path / "r").info["status"] == "failed"
    train(algorithm, steps=4, ema=ema, out=tmp_path / "r", resume=True)
    assert weights(algorithm) == weights(whole)


def test_fingerprints_tell_contents_apart_and_nothing_else() -> None:
    def rows(x: Any) -> str:
        return rows_fingerprint([Comparison(prompt=[{"role": "user", "content": "q"}], chosen=x, rejected="no")])

    picture = torch.rand(3, 4, 4)
    assert rows(picture) == rows(picture.clone()) != rows(picture.flip(0))
    assert rows("yes") != rows("yes ")
    many = [f"row {i}" for i in range(5000)]
    assert rows_fingerprint(many) == rows_fingerprint(list(many)) != rows_fingerprint(many[::-1])
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    assert weights_of({"m": a}) != weights_of({"m": b})
    b.load_state_dict(a.state_dict())
    assert weights_of({"m": a}) == weights_of({"m": b}) != weights_of({"m": b.double()})


class Policy(nn.Module):
    """As much of a policy as rounds ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line().line

    def freeze(self, which: str) -> tuple[float, ...]:
        return tuple(float(p.detach()) for p in self.parameters())


class Fitted(Line):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.line = policy.line

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}


@pytest.mark.parametrize("ema", [None, 0.5])
def test_rounds_go_on_from_the_weights_a_round_ended_with(tmp_path: Path, ema: float | None) -> None:
    def build(r: Round) -> tuple[Line, Sequence[Any]]:
        return Fitted(r.policy), [(x, y + r.number, w) for x, y, w in DATA]

    options = Training(steps=2, batch_size=12, lr=0.05, ema=ema, progress=False)
    whole, again = Policy(), Policy()
    rounds(3, whole, build, options, out=tmp_path / "r")
    rounds(2, again, build, options, out=tmp_path / "s")
    again = Policy()
    rounds(3, again, build, options, out=tmp_path / "s", resume=True)
    assert again.freeze("now") == whole.freeze("now")
    for other in ({"lr": 0.1}, {"steps": 3}):
        with pytest.raises(RunError, match="round-0 was run with other options: "):
            rounds(3, Policy(), build, dataclasses.replace(options, **other), out=tmp_path / "s", resume=True)
    with pytest.raises(RunError, match=r"round-0-rows\.jsonl is not there, and this round builds on it"):
        rounds(4, Policy(), lambda r: (list(r.earlier[0]), build(r))[1], options, out=tmp_path / "s", resume=True)
