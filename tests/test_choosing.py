"""Choosing a method: who is compared, and what a frontier is."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms import Preference, Rollout
from accord.catalogue import find
from accord.cli.methods import trainers
from accord.reproduce.choosing import ARMS, ON_PAIRS, ON_REWARD, Point, at, frontier

POINTS = st.lists(st.builds(Point, st.just(1.0), st.integers(0, 9), st.floats(0, 9), st.floats(0, 1), st.just(0.1)), min_size=1)  # fmt: skip


@given(POINTS, st.floats(0, 9), st.floats(0, 9))
def test_a_frontier_rises_and_no_point_lies_above_it(points: list[Point], near: float, far: float) -> None:
    line = frontier(points)
    assert all(a.kl <= b.kl and a.gold < b.gold for a, b in pairwise(line))
    assert all(any(b.kl <= p.kl and b.gold >= p.gold for b in line) for p in points)
    low, high = sorted((near, far))
    assert at(points, low) <= at(points, high) + 1e-12
    assert all(at(points, p.kl) >= p.gold - 1e-12 for p in points if p.kl >= line[0].kl)


def test_every_method_that_wants_pairs_or_a_reward_alone_is_there() -> None:
    """But for those that want other data beside them, and those of pictures."""
    beside = {"modpo", "reward-augmented-dpo", "copo-consistency", "dr-irl", "fine-grained-rlhf", "amft", "acre", "pairwise-rl", "harmo", "toolrl"}  # fmt: skip
    known = {m.name for m in trainers() if "text" in m.modality and m.by is None and issubclass(m.load(), Preference | Rollout)}  # fmt: skip
    assert known - beside <= {*ON_PAIRS, *ON_REWARD}
    assert all(find(m).entry for m in {*ON_PAIRS, *ON_REWARD} - {"dapo", "dr-grpo"})
    assert len(ARMS) == 3 * (len(ON_PAIRS) + len(ON_REWARD))
