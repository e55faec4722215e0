"""The loop: the gradient of a mean however it is cut, randomness of its own, options and data checked first."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from accord.algorithms import Joint, Stream
from accord.engine import Loss, Rows, Training, derive, fit, waiting
from accord.engine.run import new_folder, write_text
from accord.engine.store import Store, fingerprint
from accord.errors import ConfigError, FeedbackError, NumericsError, RunError
from accord.feedback import Example
from line import DATA, Line, train, weights


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


def test_ema_follows_its_recursion() -> None:
    plain, averaged = [train(steps=s)[0] for s in (1, 2)], train(steps=2, ema=0.5)[0]
    a, b = (torch.tensor(weights(p)) for p in plain)
    assert torch.tensor(weights(averaged)) == pytest.approx(0.5 * (0.5 * a) + 0.5 * b, rel=1e-6)


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

    train(algorithm, steps=4, batch_size=8, lr=0.1, evaluate=measure, evaluate_every=1, select="quality")
    assert weights(algorithm) == at[2]


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0}, {"steps": 2.5}, {"steps": "many"}, {"epochs": 0.0}, {"epochs": -1}, {"epochs": float("nan")},
        {"batch_size": 0}, {"batch_size": "8"}, {"batch_size": True}, {"batch_size": None},
        {"minibatches": 9, "batch_size": 8}, {"inner_epochs": 0}, {"micro_batch_size": 0}, {"keep": 0},
        {"lr": 0.0}, {"lr": float("nan")}, {"lr": "1e-4"}, {"lr_of": {"critic": -1.0}}, {"lr_of": 1e-4},
        {"schedule": "cosin"}, {"schedule": None}, {"warmup": 1.0}, {"warmup": float("nan")},
        {"weight_decay": -0.1}, {"betas": (0.9, 1.0)}, {"betas": (0.9,)}, {"betas": 0.9}, {"max_grad_norm": -1.0},
        {"ema": 1.0}, {"ema": "0.9"}, {"seed": None}, {"seed": 0.5}, {"checkpoint_every": -1}, {"evaluate_every": 1.5},
        {"select": 3}, {"trackers": "wandb"}, {"progress": "no"},
    ],
)  # fmt: skip
def test_options_out_of_range_or_of_another_kind_are_refused_at_once(options: dict) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as error:
        Training(**options)
    assert any(name in str(error.value) for name in options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr_of": {"critic": 1e-4}}, "lr_of names 'critic', but what trains is line"),
        ({"select": "quality"}, "give evaluate="),
        ({"stpes": 3}, "no option 'stpes'"),
        ({"training": {"steps": 3}, "steps": 3}, "not both"),
        ({"resume": "again", "out": "x"}, "resume='again'"),
        ({"evaluate": lambda step: 3.0}, "a number for each name"),
        ({"evaluate": lambda step: {"samples": ["a"]}}, "but samples is a list"),
    ],
)
def test_options_that_fit_ill_together_are_refused_before_a_step(options: dict, said: str) -> None:
    algorithm = Line()
    with pytest.raises(ConfigError, match=said):
        fit(algorithm, DATA, **({"progress": False} if "training" not in options else {}), **options)
    assert weights(algorithm) == (0.0, 0.0)


def test_a_model_of_which_nothing_trains_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    algorithm = Line()
    algorithm.line.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train in line"):
        train(algorithm, out=tmp_path / "r")
    assert not list(tmp_path.iterdir())


def test_no_data_and_an_unknown_tracker_are_refused() -> None:
    with pytest.raises(ConfigError, match="no rows"):
        fit(Line(), [], steps=1)
    with pytest.raises(ConfigError, match="Unsupported logging capability"):
        fit(Line(), [1.0], steps=1, trackers=("nonsense",))


class Examples(Line):
    """Learns the length of an answer from that of its prompt."""

    rows = (Example,)

    def check(self, rows: Any) -> None:
        for i, row in enumerate(rows, 1):
            if len(row.prompt) > 9:
                raise FeedbackError(f"record {i}: too long")

    def experience(self, batch: Rows, step: Any) -> Rows:
        return Rows((float(len(r.prompt)), float(len(r.completion)), 1.0) for r in batch)


def test_a_path_rows_and_records_are_the_same_data(tmp_path: Path) -> None:
    rows = [{"prompt": "q" * i, "completion": "a" * (2 * i)} for i in range(1, 5)]
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = {weights(train(Examples(), data=d, batch_size=2)[0]) for d in
             (str(file), file, rows, [Example(**r) for r in rows])}  # fmt: skip
    assert len(found) == 1


def test_data_that_an_algorithm_cannot_learn_from_is_refused_by_number_before_a_step(tmp_path: Path) -> None:
    good = Example(prompt="q", completion="a")
    for data, said in (
        (str(tmp_path / "none.jsonl"), "none.jsonl"),
        ([good, "a prompt"], "record 2 is a text, but Examples learns from Example"),
        ([good, good, Example(prompt="q" * 10, completion="a")], "record 3: too long"),
    ):
        for algorithm in (Examples(), _joint(Examples(), own=None)):
            with pytest.raises(FeedbackError, match=said):
                train(algorithm, data=data, batch_size=1)
    with pytest.raises(FeedbackError, match="stream b: record 2 is a text"):
        train(_joint(Examples(), own=[good, "a prompt"]), data=[good], batch_size=1)


def _joint(algorithm: Examples, own: Any) -> Joint:
    other = Examples()
    algorithm.policy = other.policy = other.line = algorithm.line
    return Joint({"a": Stream(algorithm), "b": Stream(other, weight=0.5, data=own)})


class Noisy(Line):
    """Draws from every global generator there is, as dropout, rewards and data loaders of others do."""

    def forward(self, rows: Rows) -> Loss:
        noise = float(torch.rand(())) + random.random() + float(np.random.rand())
        return super().forward(Rows((x + 0.1 * noise, y, w) for x, y, w in rows))


def test_what_ran_before_in_the_process_changes_nothing_and_what_comes_after_notices_nothing() -> None:
    def draws() -> list[float]:
        return [float(torch.rand(())), random.random(), float(np.random.rand())]

    def run(algorithm: Noisy) -> tuple[Any, Any]:
        seen: list[float] = []
        train(algorithm, evaluate=lambda step: seen.extend(draws()) or {}, evaluate_every=2)
        return weights(algorithm), seen

    first, again = run(Noisy()), Noisy()
    train(Noisy(), seed=3)
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    expected = [draws() for _ in range(2)]
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    assert draws() == expected[0]
    assert run(again) == first
    assert draws() == expected[1]
    assert weights(train(Noisy(), seed=1)[0]) != first[0]


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


@pytest.mark.parametrize("bad", [{"lr": 10**400}, {"batch_size": 10**400}, {"ema": 10**400}, {"seed": 2**63}])
def test_numbers_that_no_machine_holds_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Training(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("terminal", "patience", "shown"), [("1", -1, True), ("1", 60, False), ("", -1, False)])
def test_a_bar_comes_to_terminals_alone_and_only_where_it_takes_long(
    terminal: str, patience: float, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setattr(waiting, "PATIENCE", patience)
    assert list(waiting.watched("abc", 3, "counting")) == ["a", "b", "c"]
    said = capsys.readouterr().err
    assert ("counting" in said) == shown
    assert shown or not said
