"""Trees of answers: any one is as if sampled alone; and the network that comparisons and likeness make of answers."""

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch

from accord.engine.seeds import derive
from accord.errors import ConfigError
from accord.policies import Sampling
from accord.policies.base import Group
from accord.rewards import BradleyTerry, InducedNetwork, grown, leaf_pairs, network_of
from accord.rewards.tree_structured_reward import Leaf
from accord.worlds import letters
from conftest import tiny_policy

BRIEF = Sampling(max_new_tokens=9)


def test_answers_share_just_the_tokens_before_they_part() -> None:
    policy = tiny_policy()
    (leaves,) = grown(policy, ["what is 2 plus 3 ?"], depth=3, branch=2, length=9, sampling=BRIEF, seed=1)
    assert 1 < len(leaves) <= 8
    for a in leaves:
        assert a.text == policy.tokeniser.decode(a.ids)
        assert len(a.ids) <= 9
        for b in leaves:
            if a is not b:
                d = a.shared(b)
                assert a.cuts[: d + 1] == b.cuts[: d + 1]
                assert a.ids[: a.cuts[d]] == b.ids[: b.cuts[d]]
                assert a.path[d] != b.path[d]


def test_a_tree_longer_than_its_answers_may_be_is_refused_by_the_numbers_that_were_given() -> None:
    with pytest.raises(ConfigError, match="at most max_new_tokens, 9, but got 10"):
        grown(tiny_policy(), ["p"], length=10, sampling=BRIEF)


def test_one_level_of_branches_is_independent_answers() -> None:
    policy = tiny_policy()
    asked = ["what is 2 plus 3 ?", "name a day ."]
    trees = grown(policy, asked, depth=1, branch=4, length=9, sampling=BRIEF, seed=5)
    ids = [policy.prompt_ids(p) for p in asked]
    plain = policy.continued(ids, 4, BRIEF, derive(5, 0, purpose="tree")).ids
    for i, leaves in enumerate(trees):
        assert {x.ids for x in leaves} == {tuple(row) for row in plain[4 * i : 4 * i + 4]}


def test_any_one_answer_is_distributed_as_if_sampled_alone() -> None:
    """Of each tree the first leaf, by its last token, against as many plain answers: chi squared over the commonest."""
    policy = tiny_policy()
    n, three = 500, Sampling(max_new_tokens=3)
    trees = grown(policy, ["p"] * n, depth=3, branch=2, length=3, sampling=three, seed=3)
    plain = policy.sample(["p"], n, three, seed=11).actions.completion_ids
    ours, theirs = (Counter(r[-1] for r in rows) for rows in ([t[0].ids for t in trees], plain))
    tokens = [k for k, _ in (ours + theirs).most_common(12)]
    table = np.array([[c[k] for k in tokens] + [n - sum(c[k] for k in tokens)] for c in (ours, theirs)], float)
    wanted = table.sum(0) / 2
    assert float(((table - wanted) ** 2 / wanted).sum()) < 40, "0.0001 of chi squared with 12 degrees"


def test_leaves_of_a_packed_tree_are_scored_as_each_alone() -> None:
    reward = BradleyTerry.load(letters.WEIGHTS)
    torch.nn.init.normal_(reward.core.score.weight)
    (leaves,) = grown(
        letters.policy(), ["what is 2 plus 3 ?"], depth=2, branch=2, length=8, sampling=Sampling(max_new_tokens=24)
    )
    texts = tuple(x.text for x in leaves)
    with torch.no_grad():
        together = reward.values_of([Group("what is 2 plus 3 ?", texts)])
        alone = torch.cat([reward.values_of([Group("what is 2 plus 3 ?", (t,))]) for t in texts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_pairs_of_leaves_part_at_the_root_most_often() -> None:
    paths = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    leaves = [Leaf(str(p), (), p, ()) for p in paths]
    pairs = leaf_pairs(leaves, 99)
    assert Counter(a.shared(b) for a, b in pairs) == {0: 16, 1: 8, 2: 4}
    assert len({frozenset((a.text, b.text)) for a, b in pairs}) == 28
    assert {a.path < b.path for a, b in pairs} == {True, False}, "either comes first"
    assert leaf_pairs(leaves, 5, seed=1) != leaf_pairs(leaves, 5, seed=2)


# The network.


def test_in_a_row_variances_add_up_and_side_by_side_their_reciprocals() -> None:
    row = InducedNetwork(3, [(0, 1, 2.0), (1, 2, 3.0)])
    assert row.variances()[0, 2] == pytest.approx(5)
    assert row.distances()[0, 2] == pytest.approx(5)
    twice = InducedNetwork(2, [(0, 1, 2.0), (0, 1, 6.0)])
    assert twice.variances()[0, 1] == pytest.approx(1.5)
    assert twice.distances()[0, 1] == pytest.approx(2)
    square = InducedNetwork(4, [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (3, 0, 1.0)])
    assert square.variances()[0, 2] == pytest.approx(1)
    assert square.variances()[0, 1] == pytest.approx(0.75)
    assert square.mean(square.distances()) == pytest.approx((4 * 1 + 2 * 2) / 6)


def test_more_edges_never_tell_less_and_a_path_is_never_better_than_all_of_them() -> None:
    random = np.random.default_rng(0)
    edges = [
        (int(i), int(j), float(v))
        for i, j, v in zip(
            random.integers(0, 9, 30), random.integers(0, 9, 30), random.uniform(0.1, 3, 30), strict=True
        )
        if i != j
    ]
    before = InducedNetwork(9, edges[:-8])
    after = InducedNetwork(9, edges)
    assert np.isfinite(before.distances()).all()
    for network in (before, after):
        assert (network.variances() <= network.distances() + 1e-9).all()
    assert (after.distances() <= before.distances() + 1e-12).all()
    assert (after.variances() <= before.variances() + 1e-9).all()
    apart = InducedNetwork(3, [(0, 1, 1.0)])
    assert math.isinf(apart.distances()[0, 2])
    assert math.isinf(apart.variances()[1, 2])
    with pytest.raises(ConfigError, match="variance above 0"):
        InducedNetwork(2, [(0, 1, 0.0)])


def test_what_is_alike_is_known_from_its_neighbours() -> None:
    rows = np.array([[0.0], [0.1], [5.0], [5.1]])
    one = network_of(rows, [(0, 2)], alike=1.0, neighbours=1)
    table = one.variances()
    assert table[1, 3] == pytest.approx(math.pi**2 / 3 + 2 * 0.01, rel=1e-6), "never compared, but nearly as well known"
    sure = network_of(rows, [(0, 2)], beta=10.0, neighbours=1)
    assert sure.mean(sure.variances()) < one.mean(table)


def test_answers_with_many_features_take_no_more_memory_than_their_table() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 1000))
    tracemalloc.start()
    network = network_of(rows, [])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    i, j, variance = network.edges[0]
    assert variance == pytest.approx(float(((rows[i] - rows[j]) ** 2).sum()))
    assert peak < 4 * rows.nbytes
