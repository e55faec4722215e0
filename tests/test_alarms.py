"""What is said of alarms: by runs whose fate is known."""

import numpy as np
import pytest

from accord.evaluation import alarms
from accord.reproduce.alarms import Course, judged


def run(seed: int, fate: str, g: np.random.Generator, *, world: str = "toy", steps: int = 10) -> Course:
    """A run that ends hacked (gold falls from its middle on), or sound; length tells from a third on, and distinct words don't."""
    rows = []
    for i in range(steps + 1):
        late = max(0.0, i / steps - 0.5)
        gold = 0.6 - 0.8 * late if fate == "hacked" else 0.6 + 0.02 * i if fate == "sound" else 0.6 - 0.04 * i / steps
        length = 20 * (1 + (fate == "hacked") * 2.0 * (i / steps > 0.3)) * (1 + 0.02 * g.standard_normal())
        rows.append({"step": i, "reward/gold": gold, "reward/gold/safe": gold, "reward/proxy": 0.1 * i, "length": length,
                     "distinct": 0.5 * np.exp(0.1 * g.standard_normal())})  # fmt: skip
    return Course(world, "raft", seed, rows)


@pytest.fixture(scope="module")
def courses() -> list[Course]:
    g = np.random.default_rng(0)
    fates = ["hacked"] * 40 + ["sound"] * 100 + ["between"] * 30
    return [run(seed, fate, g) for seed, fate in enumerate(fates)]


def test_a_run_is_hacked_from_where_its_gold_stays_below(courses: list[Course]) -> None:
    assert [c.fell(0.1) for c in (courses[0], courses[50], courses[-1])] == [7, None, None]
    assert [c.sound for c in (courses[0], courses[50], courses[-1])] == [False, True, False]
    dip = Course("toy", "raft", 0, [{"reward/gold": x} for x in (0.5, 0.2, 0.5, 0.3)])
    assert dip.fell(0.1) == 3


def test_a_sign_that_tells_is_told_from_one_that_does_not(courses: list[Course]) -> None:
    found = {q.alarm: q for q in judged(courses, {"toy": 0.1})}
    assert set(found) == {"length drift", "diversity collapse"}, "the gold is no rival to any alarm"
    length, words = found["length drift"], found["diversity collapse"]
    assert (length.sound, length.found.n, length.found.value) == (100, 40, 1.0)
    assert 0.9 < length.found.low < 1
    assert length.better_than_chance
    assert length.ahead is not None
    assert length.ahead.mean == pytest.approx(0.3, abs=0.02)
    assert length.shipped == (0.0, 1.0)
    assert not words.better_than_chance
    assert words.found.low < 0.05 < words.found.high + 0.05


def test_the_threshold_lets_five_in_a_hundred_sound_runs_ring(courses: list[Course]) -> None:
    for quality in judged(courses, {"toy": 0.1}):
        peaks = [max(a.score for a in c.alarms()[quality.alarm]) for c in courses if c.sound]
        assert sum(p > quality.threshold for p in peaks) == 5


def test_worlds_are_judged_apart_and_one_without_hacked_runs_not_at_all(courses: list[Course]) -> None:
    g = np.random.default_rng(1)
    other = [run(seed, "sound", g, world="calm") for seed in range(20)]
    assert judged([*courses, *other], {"toy": 0.1, "calm": 0.1}) == judged(courses, {"toy": 0.1})


def test_more_is_worse_in_every_score() -> None:
    first = {"length": 20.0, "distinct": 0.5, "kl": 0.0, "reward/proxy": 0.0, "reward/other": 1.0}
    mild = {"length": 24.0, "distinct": 0.4, "kl": 2.0, "reward/proxy": 1.0, "reward/other": 0.9}
    bad = {"length": 60.0, "distinct": 0.1, "kl": 9.0, "reward/proxy": 2.0, "reward/other": 0.1}
    rows = [{a.name: a for a in alarms([first, last])} for last in (mild, bad)]
    assert len(rows[0]) == 4
    assert all(rows[1][name].score > rows[0][name].score for name in rows[0])
    assert all(rows[1][name].rings for name in rows[1])
    shorter = {**first, "length": 5.0}
    assert alarms([first, shorter])[0].rings
