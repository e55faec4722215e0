"""Plans keep what they promise, and the harness's own error rate is what it is."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from accord.cli import main
from accord.cli.reproduce import numbers
from accord.errors import ConfigError
from accord.reproduce import Primary, System
from accord.reproduce import committed as committed_
from accord.reproduce import harness as harness_
from accord.reproduce import plan as plan_
from accord.reproduce import ruler as ruler_
from accord.reproduce.claim import FEWEST, MOST
from accord.reproduce.errors import error_rate, rate
from accord.reproduce.plan import Spread, make_plan
from accord.reproduce.ruler import delta_of, measure_ruler
from accord.reproduce.tune import tune

PILOTS = 1500


def drawn(g: np.random.Generator, seeds: int, twins: int, between: float, within: float) -> np.ndarray:
    """Differences [pilots, seeds, twins] with these standard deviations between seeds and between twins."""
    shape = (PILOTS, seeds)
    return between * g.standard_normal((*shape, 1)) + within * g.standard_normal((*shape, twins))


@pytest.mark.parametrize("twins", [1, 3])
@pytest.mark.parametrize("n", [FEWEST, 15, MOST])
def test_the_expected_width_is_what_so_many_seeds_have_in_the_mean(n: int, twins: int) -> None:
    g = np.random.default_rng(n)
    promised = np.mean([Spread.of(d).half(n) for d in drawn(g, 6, twins, 0.03, 0.04)])
    run = drawn(g, n, 1, 0.03, 0.04)[..., 0]
    widths = stats.t.ppf(0.975, n - 1) * run.std(1, ddof=1) / n**0.5
    assert promised == pytest.approx(widths.mean(), rel=0.04)


def test_the_planned_seeds_are_the_fewest_that_reach_half_a_delta() -> None:
    g = np.random.default_rng(0)
    for d in drawn(g, 6, 1, 0.02, 0.03)[:200]:
        spread = Spread.of(d)
        n = spread.seeds(0.1)
        assert spread.half(n) <= 0.05 or n == MOST
        assert n == FEWEST or spread.half(n - 1) > 0.05
    assert Spread.of(np.zeros((6, 1))).seeds(0.1) == FEWEST
    # With the true spread known, claims so planned come out decided, whatever the truth is.
    spread = Spread(0.0, 0.05, None)
    n = spread.seeds(0.1)
    half = stats.t.ppf(0.975, n - 1) / n**0.5
    for truth in (0.0, 0.1):
        runs = truth + 0.05 * g.standard_normal((PILOTS, n))
        mean, width = runs.mean(1), half * runs.std(1, ddof=1)
        decided = (mean - width > 0) | (mean + width < 0) | ((mean - width > -0.1) & (mean + width < 0.1))
        assert decided.mean() > 0.9


def test_what_lies_between_twins_is_told_from_what_lies_between_seeds() -> None:
    found = [Spread.of(d) for d in drawn(np.random.default_rng(1), 6, 3, 0.05, 0.02)]
    assert np.sqrt(np.mean([s.twins**2 for s in found])) == pytest.approx(0.02, rel=0.05)
    assert Spread.of(np.ones((6, 1))).twins is None


def test_comparisons_of_twins_err_in_five_of_a_hundred() -> None:
    g = np.random.default_rng(2)
    rates = [rate(0.02 * g.standard_normal(40), FEWEST, g) for _ in range(60)]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.006)
    one = error_rate(0.02 * g.standard_normal(40))
    assert one["low"] <= one["rate"] <= one["high"] < 0.12
    assert one["run_to_run"] == pytest.approx(0.02 / 2**0.5, rel=0.4)
    # Where luck has long tails, as where runs collapse, t intervals are too wide: the rate tells.
    assert np.mean([rate(g.standard_cauchy(40), FEWEST, g) for _ in range(20)]) < 0.035


TOY = """
from accord.engine.seeds import generator
from accord.reproduce import Claim, Primary
from accord.reproduce.course import note
from accord.reproduce.luck import luck
import torch


def arm(name, gain, spread):
    def run(seed):
        common = 0.05 * float(torch.randn((), generator=generator(seed)))
        own = spread * float(torch.randn((), generator=generator(luck(seed), purpose=name)))
        for step, share in enumerate((0.0, 1.4 if name == "new" else 1.0, 1.0)):
            note(step, {"reward/gold": 0.5 + common + share * (gain + own)})
        return {"gold": 0.5 + common + gain + own, "verdicts": 0.5 + own}

    return run


CLAIM = Claim("raft", "toy", "new is better", (Primary("new", "old"),), ("old", "new", "more"), ("old", "new"))
ARMS = {"base": arm("base", 0, 0), "oracle": arm("oracle", 0.4, 0.01), "old": arm("old", 0.1, 0.04),
        "new": arm("new", 0.22, 0.04), "more": arm("more", 0.1, 0.03)}
ARMS = {k: v for k, v in ARMS.items() if (k in CLAIM.arms) == (__name__ == "toy_system")}
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A system, and a world of its own, whose results lie in a folder of their own."""
    for name in ("toy_system", "toy_world"):
        (tmp_path / f"{name}.py").write_text(TOY)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    for module in (harness_, plan_, committed_):
        monkeypatch.setattr(module, "results_folder", lambda: tmp_path)
    for module in (harness_, ruler_):
        monkeypatch.setattr(module, "bench", lambda world: f"{world}_world")
    return System.read("toy_system")


def test_a_world_is_measured_once_a_claim_is_planned_and_then_it_is_run(toy: System, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accord reproduce --ruler toy"):
        _ = toy.delta
    said: list[str] = []
    found = measure_ruler("toy", processes=1, say=said.append)
    assert found["delta"] == pytest.approx(0.08, abs=0.003)
    assert len(said) == 24
    assert delta_of("toy") == toy.delta == measure_ruler("toy", processes=1, say=said.append)["delta"]
    assert len(said) == 24, "kept for all who ask"
    committed_.commit("rulers", "toy", {**found, "delta": 0.08})
    assert measure_ruler("toy", processes=1)["delta"] == 0.08, "fixed once"

    main = toy.claim.primaries[0].name
    plan = make_plan(toy, twins=3, processes=1)
    row = plan["primaries"][main]
    assert row["decides"]
    assert row["half"][str(row["seeds"])] <= delta_of("toy") / 2
    assert FEWEST < row["seeds"] == toy.wanted[main]
    assert plan["arms"]["old"]["twins"] == pytest.approx(0.04, rel=0.5)
    assert any("new ends at" in w for w in plan["warnings"]), "gold falls from its peak"
    assert any("twins of old" in w for w in plan["warnings"]) == (plan["arms"]["old"]["twins"] > delta_of("toy") / 3)
    assert 0 < plan["minutes"] < 1
    dear = replace(
        toy, claim=replace(toy.claim, primaries=(Primary("new", "old"), Primary("more", "new")), collapses="more")
    )
    assert any("more was to fall below the base" in w for w in make_plan(dear, processes=1)["warnings"])
    make_plan(toy, twins=3, processes=1)

    result = harness_.reproduce_one(toy, processes=1)
    assert len(result.measures["new"]["gold"]) == row["seeds"]
    assert len(result.measures["more"]["gold"]) == FEWEST
    assert result.verdict == "holds"
    lines = [json.loads(line) for line in (tmp_path / "courses" / "raft.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * row["seeds"] + FEWEST
    assert lines[0]["course"][0]["step"] == 0
    with pytest.raises(ConfigError, match="made after looking"):
        make_plan(toy, processes=1)


def test_a_seed_that_was_seen_under_other_code_stays_seen(
    toy: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rulers.json").write_text(json.dumps({"toy": {"delta": 0.08}}))
    harness_.reproduce_one(toy, processes=1)
    (tmp_path / "raft.json").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = (tmp_path / "toy_system.py").read_text()
    (tmp_path / "toy_system.py").write_text(source + "\nOF_OTHER_CODE = True\n")
    sys.modules.pop("toy_system", None)
    with pytest.raises(ConfigError, match="made after looking"):
        make_plan(toy, processes=1)
    assert make_plan(replace(toy, claim=replace(toy.claim, first_seed=500)), processes=1)["minutes"] > 0


def test_a_result_of_other_code_is_this_codes_where_every_arm_measures_the_very_same(
    toy: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no result of the claim as it stands"):
        harness_.confirm(toy, processes=1)
    (tmp_path / "rulers.json").write_text(json.dumps({"toy": {"delta": 0.08}}))
    harness_.reproduce_one(toy, processes=1)
    kept = json.loads((tmp_path / "raft.json").read_text())
    source = (tmp_path / "toy_system.py").read_text()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(text: str) -> list[str]:
        (tmp_path / "toy_system.py").write_text(text)
        sys.modules.pop("toy_system", None)
        return harness_.confirm(toy, processes=1)

    assert of(source) == []
    assert json.loads((tmp_path / "raft.json").read_text()) == kept, "nothing to confirm"
    assert of(source.replace("own = spread", "unused = 1\n        own = spread")) == []
    found = json.loads((tmp_path / "raft.json").read_text())
    assert found["confirmed"] == [kept["source_hash"]]
    assert found["source_hash"] == toy.source != kept["source_hash"]
    assert {**found, "confirmed": [], "source_hash": ""} == {**kept, "source_hash": ""}
    odd = of(source.replace('arm("new", 0.22', 'arm("new", 0.22000001'))
    assert len(odd) == 1
    assert odd[0].startswith("new measures gold")
    assert json.loads((tmp_path / "raft.json").read_text()) == found, "what differs stays stale"


def test_a_plan_of_another_claim_does_not_count(toy: System, tmp_path: Path) -> None:
    main = toy.claim.primaries[0].name
    plans = {"raft": {"claim": toy.claim.hash, "primaries": {main: {"seeds": 9}}}}
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    assert toy.wanted[main] == 9
    other = replace(toy, claim=replace(toy.claim, statement="new is much better"))
    assert other.wanted[main] == FEWEST
    assert replace(toy, claim=replace(toy.claim, seeds=12)).wanted[main] == 12


def test_what_came_of_each_setting_that_was_tried_is_on_record(toy: System, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a table TUNING"):
        tune(toy, processes=1)
    loaded = importlib.import_module("toy_system")
    loaded.TUNING = {f"new {k}": loaded.ARMS["new"] for k in (1, 2)}
    row = tune(toy, processes=1)
    assert row == json.loads((tmp_path / "tuning.json").read_text())["raft"]
    assert list(row["arms"]) == ["new 1", "new 2"]
    for primary in toy.claim.primaries:
        assert all(len(came[primary.measure]) == len(row["seeds"]) for came in row["arms"].values()), primary
    golds = [came["gold"] for came in row["arms"].values()]
    assert golds[0] == golds[1] == [j.found["measures"]["gold"] for j in toy.jobs(row["seeds"], ["new 1"])]
    assert 0 < row["arms"]["new 1"]["of peak"] < 1
    loaded.CHOSEN_BY = "verdicts"
    assert list(tune(toy, processes=1)["arms"]["new 1"])[:2] == ["verdicts", "gold"]


def test_a_part_is_run_by_names_of_arms_and_numbers_of_seeds(toy: System) -> None:
    part = toy.jobs([1000, 1001], ["new"])
    assert [(j.arm, j.seed) for j in part] == [("new", 1000), ("new", 1001)]
    with pytest.raises(ConfigError, match="no arm 'nwe'"):
        toy.jobs(arms=["nwe"])
    hacked = replace(
        toy, claim=replace(toy.claim, collapses="old", primaries=(Primary("new", "old"), Primary("more", "base")))
    )
    arms = {(j.module, j.arm) for j in hacked.jobs()}
    more = replace(hacked, claim=replace(hacked.claim, seeds=12))
    assert {(j.arm, j.seed) for j in more.jobs()} >= {
        (arm, more.claim.first_seed + i) for arm in ("old", "base") for i in range(12)
    }
    assert arms == {("toy_system", "old"), ("toy_system", "new"), ("toy_system", "more"), ("toy_world", "base")}


def test_the_page_says_of_a_result_what_it_is_and_is_the_same_each_time(
    toy: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_ruler("toy", processes=1)
    result = harness_.reproduce_one(toy, processes=1)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs")
    page = importlib.import_module("verdicts")
    monkeypatch.setattr(page, "HERE", tmp_path)
    monkeypatch.setattr(page, "results_folder", lambda: tmp_path)
    (tmp_path / "reproduction-notes.md").write_text(
        "# Notes\n\n## 19 RAFT: fails\n\nBecause.\n\n## 21 Another\n\nNo.\n"
    )

    def said(stale: str | None) -> tuple[str, bytes]:
        monkeypatch.setattr(page, "stale", lambda name: stale)
        page.reproductions()
        return (tmp_path / "reproductions.md").read_text(), (tmp_path / "forest.svg").read_bytes()

    fresh = said(None)
    assert fresh == said(None)
    text = fresh[0].partition("## raft")[2].partition("## ")[0]
    assert f"**{result.verdict.capitalize()}.**" in text
    assert "new is better" in text
    assert "Because." in text
    assert "No." not in text
    assert f"1 {result.verdict}" in fresh[0]
    main = next(iter(result.primaries.values()))
    assert f"{main['mean']:+.3f} [{main['low']:+.3f}, {main['high']:+.3f}]" in text
    old = said("of other code")
    assert "(stale)" in old[0]
    assert "Stale" not in fresh[0]
    assert old[1] != fresh[1], "drawn hollow"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of"),
        (["raft", "--all"], "not --all and a name"),
        (["raft", "--plan", "--json", "r.json"], "--json names the file"),
        (["raft", "--seeds", "405-400"], "--seeds wants numbers like 400-405"),
        (["raft", "--arms", "raft,rafft"], "no arm 'rafft'"),
        (["--ruler", "lettres"], "no world called 'lettres'"),
        (["raft", "--processes", "0"], "at least 1"),
    ],
)
def test_a_call_that_can_not_be_meant_is_refused_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_seeds_are_given_as_numbers_and_ranges() -> None:
    assert list(numbers("400-402,410")) == [400, 401, 402, 410]
