"""Verdicts: nothing seldom passes for something, an effect is found, and what proves nothing stays open."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accord.catalogue import results_folder
from accord.evaluation import accuracy, best_of_n_curve
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce import Claim, Interval, Primary, System, claims, judge, paired_interval
from accord.reproduce.verdict import decide, differences

DELTA = 0.05
ARMS = ("base", "new", "old", "more")
CLAIM = Claim("raft", "letters", "new is better than old", (Primary("new", "old"),), ARMS, ("new", "old"))
EQUAL = dict.fromkeys(ARMS, 100.0)


def table(effect: float, seeds: int = 6, seed: int = 0, noise: float = 0.002, **more: float) -> dict:
    """Arms around 0.6 (new: the effect above it), whose seeds share what they have in common."""
    g = np.random.default_rng(seed)
    shared = 0.05 * g.standard_normal(seeds)
    means = {"base": 0.5, "old": 0.6, "more": 0.6, "new": 0.6 + effect, **more}
    return {a: {"gold": (m + shared + noise * g.standard_normal(seeds)).tolist()} for a, m in means.items()}


def test_the_interval_is_the_paired_t_interval() -> None:
    x = np.random.default_rng(0).standard_normal(7)
    low, high = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    found = paired_interval(x.tolist())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert paired_interval([1.0]).low == -float("inf")


def test_nothing_passes_for_better_or_worse_in_five_comparisons_of_a_hundred() -> None:
    g = np.random.default_rng(0)
    differences = 0.02 * g.standard_normal((4000, 6))
    found = [paired_interval(d.tolist()).outcome(1e-9) for d in differences]
    for outcome in ("better", "worse"):
        share = found.count(outcome) / len(found)
        assert abs(share - 0.025) < 4 * (0.025 * 0.975 / len(found)) ** 0.5
    # An effect of as much as the claim was planned for (its interval is half a delta wide) is found nearly always.
    half = 0.02 * stats.t.ppf(0.975, 5) / 6**0.5
    assert np.mean([paired_interval(d.tolist()).outcome(2 * half) == "better" for d in differences + 2 * half]) > 0.9
    assert (
        np.mean([paired_interval(d.tolist()).outcome(2 * half) in ("better", "worse", "equal") for d in differences])
        > 0.9
    )


numbers = st.floats(-1, 1, allow_nan=False)
positive = st.floats(1e-6, 1)


@given(st.tuples(numbers, numbers).map(sorted), positive, st.floats(0, 1))
def test_every_interval_comes_out_as_one_thing(ends: list[float], delta: float, margin: float) -> None:
    low, high = ends
    outcome = Interval((low + high) / 2, low, high).outcome(delta, margin)
    better, worse, equal = low > margin, high < 0, -delta < low and high < delta
    assert (outcome == "better") == better
    assert (outcome == "worse") == worse
    assert (outcome == "equal") == (equal and not better and not worse)
    assert (outcome == "open") == (not (better or worse or equal))
    mirror = Interval(-(low + high) / 2, -high, -low).outcome(delta)
    names = {"better": "worse", "worse": "better", "equal": "equal", "open": "open"}
    assert mirror == names[Interval((low + high) / 2, low, high).outcome(delta)]


@given(st.lists(numbers, min_size=2, max_size=8), positive)
def test_what_a_claim_says_follows_from_what_implies_it(values: list[float], delta: float) -> None:
    came = {says: decide(Primary("a", "b", says), values, delta).came for says in ("better", "not worse", "equal")}
    if "as said" in (came["better"], came["equal"]):
        assert came["not worse"] == "as said"
    outcome = decide(Primary("a", "b"), values, delta).outcome
    if outcome != "open":
        assert "open" not in came.values()
        assert came["better"] == ("as said" if outcome == "better" else "otherwise")
    wider = {says: decide(Primary("a", "b", says), values, 2 * delta).came for says in came}
    assert all(wider[says] == "as said" for says in came if came[says] == "as said"), "a larger delta forgives more"


@pytest.mark.parametrize(
    ("effect", "more", "verdict"),
    [
        ((0.15, 0.002), (Primary("more", "old", "equal"),), "holds"),
        ((0.15, 0.002), (Primary("old", "new"),), "in part"),
        ((0.15, 0.002), (Primary("new", "old", margin=0.14),), "holds"),
        ((0.15, 0.002), (Primary("new", "old", margin=0.2),), "in part"),
        ((0.0, 0.002), (), "fails"),
        ((-0.15, 0.002), (Primary("more", "old", "equal"),), "fails"),
        ((0.0, 0.2), (Primary("more", "old", "equal"),), "open"),
    ],
)
def test_the_main_primary_decides_and_the_others_make_it_whole(
    effect: tuple[float, float], more: tuple[Primary, ...], verdict: str
) -> None:
    claim = replace(CLAIM, primaries=(*CLAIM.primaries, *more))
    size, noise = effect
    assert judge(claim, table(size, noise=noise), EQUAL, DELTA).verdict == verdict


def test_less_is_better_where_the_sign_says_so_and_a_primary_may_bring_its_own_delta() -> None:
    less = replace(CLAIM, primaries=(Primary("old", "new", sign=-1),))
    assert judge(less, table(0.15), EQUAL, DELTA).verdict == "holds"
    near = replace(CLAIM, primaries=(Primary("new", "old", "not worse"),))
    assert judge(near, table(-0.02), EQUAL, DELTA).verdict == "holds"
    assert judge(near, table(-0.08), EQUAL, DELTA).verdict == "fails"
    own = replace(CLAIM, primaries=(Primary("new", "old", "not worse", delta=0.1),))
    assert judge(own, table(-0.08), EQUAL).verdict == "holds"
    with pytest.raises(ValueError, match="no delta"):
        judge(near, table(0.0), EQUAL)


def test_obstacles_leave_a_claim_open() -> None:
    def found(claim: Claim, of: dict, compute: dict[str, float] = EQUAL) -> tuple[str, str]:
        judged = judge(claim, of, compute, DELTA)
        return judged.verdict, " ".join(judged.obstacles)

    assert found(CLAIM, table(0.3)) == ("holds", "")
    assert found(CLAIM, table(0.3, seeds=5)) == ("open", "5 seeds of 'new better than old (gold)', which wants 6")
    assert found(replace(CLAIM, seeds=8), table(0.3))[0] == "open"
    assert found(CLAIM, table(0.3), {**EQUAL, "new": 120.0}) == ("open", "new used 1.20 times the compute of old")
    assert found(CLAIM, table(0.3), {**EQUAL, "old": 120.0})[0] == "holds", "a control may use more"
    hacking = replace(CLAIM, collapses="old")
    assert "was to fall below the base" in found(hacking, table(0.3))[1]
    assert found(hacking, table(0.3, old=0.2))[0] == "holds"


def test_a_claim_is_whole_and_its_hash_follows_its_content() -> None:
    assert CLAIM.hash == replace(CLAIM).hash
    assert CLAIM.hash != replace(CLAIM, seeds=7).hash
    with pytest.raises(ValueError, match="lacks arms"):
        replace(CLAIM, arms=("new",))
    with pytest.raises(ValueError, match="6 to 24 seeds"):
        replace(CLAIM, seeds=5)
    with pytest.raises(ValueError, match="margin >= 0"):
        Primary("new", "old", margin=-0.1)


def test_an_arm_runs_as_often_as_the_greediest_of_its_comparisons_wants_and_others_on_six_seeds() -> None:
    claim = replace(CLAIM, primaries=(Primary("new", "old"), Primary("new", "base")))
    seeds = claim.seeds_of({claim.primaries[0].name: 10, claim.primaries[1].name: 7})
    assert {a: len(seeds[a]) for a in ARMS} == {"base": 7, "new": 10, "old": 10, "more": 6}
    assert {s[0] for s in seeds.values()} == {400}


def test_a_comparison_takes_the_seeds_that_both_of_its_arms_have() -> None:
    uneven = {"new": {"gold": [0.3, 0.4, 0.5]}, "old": {"gold": [0.1, 0.2]}}
    assert differences(Primary("new", "old"), uneven) == pytest.approx([0.2, 0.2])


def test_the_meter_counts_forward_one_backward_two(base_policy: LanguagePolicy) -> None:
    from accord.policies.base import Group
    from accord.policies.meter import size_of

    group = [Group("what is 2 plus 3 ?", ("the answer is 5 .",))]
    million = size_of(base_policy.core) / 1e6
    tokens = len(base_policy.tree(group))
    with metered() as trained:
        base_policy.likelihood(group)
    with metered() as outer, metered() as frozen:
        base_policy.freeze("now").likelihood(group)
    assert trained.units == pytest.approx(3 * tokens * million)
    assert frozen.units == pytest.approx(tokens * million)
    assert outer.units == 0
    with metered() as sampled:
        drawn = base_policy.sample(["what is 2 plus 3 ?"], 4, Sampling(max_new_tokens=20))
    prompt = len(drawn.actions.prompt_ids[0])
    assert sampled.units == pytest.approx((prompt + int(drawn.length.sum())) * million)


def test_committed_results_of_claims_as_they_stand_have_the_verdicts_that_the_rules_give() -> None:
    """Others are stale, and the page says so."""
    for name in claims():
        path, claim = results_folder() / f"{name}.json", System.of(name).claim
        result = json.loads(path.read_text()) if path.is_file() else {"claim_hash": None}
        if result["claim_hash"] == claim.hash:
            said = judge(claim, result["measures"], result["compute"], result["delta"], result["wanted"])
            assert result["verdict"] == said.verdict


@pytest.mark.parametrize("seed", range(100, 110))
def test_no_prompt_tells_the_taste_and_every_reward_of_it_hears_it(seed: int) -> None:
    from accord.reproduce.portraits import Tasteful, asked, taste
    from accord.worlds.portraits import read_prompt

    wanted = taste(seed)
    texts = asked(20, seed)
    assert not {w.attribute for t in texts for w in read_prompt(t)} & {w.attribute for w in wanted}
    heard: list[str] = []

    def reward(*, prompts: list[str], completions: list[int], **columns: object) -> list[float]:
        heard.extend(prompts)
        return [0.0] * len(prompts)

    Tasteful(reward, seed)(prompts=texts, completions=[0] * 20)
    assert [read_prompt(h) for h in heard] == [[*read_prompt(t), *wanted] for t in texts]


# Measures that reproductions and commands rest on.


def test_wilson_and_cluster_intervals() -> None:
    import torch

    x = torch.cat([torch.ones(70), -torch.ones(30)])
    found = accuracy(x)
    low, high = stats.binomtest(70, 100).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.7, low, high))
    clustered = accuracy(x, [i // 10 for i in range(100)])
    assert clustered.low < found.low
    assert clustered.clusters == 10
    assert accuracy(torch.zeros(4)).value == 0.5


def test_best_of_n_curve_is_the_mean_over_all_subsets() -> None:
    import itertools

    import torch

    g = torch.Generator().manual_seed(0)
    chooser, judge_ = torch.randn(3, 6, generator=g), torch.randn(3, 6, generator=g)
    rows = best_of_n_curve(chooser, {"gold": judge_}, [1, 2, 4, 6])
    for row in rows:
        n = int(row["n"])
        means = [
            float(judge_[p, list(s)][chooser[p, list(s)].argmax()])
            for p in range(3)
            for s in itertools.combinations(range(6), n)
        ]
        assert row["gold"] == pytest.approx(np.mean(means), abs=1e-5)
        assert row["kl"] == pytest.approx(np.log(n) - (n - 1) / n)
    own = [r["chooser"] for r in rows]
    assert own == sorted(own)
