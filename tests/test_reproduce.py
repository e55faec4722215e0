"""The harness: fed nothing it seldom says holds, fed an effect it finds it, and it refuses what proves nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from accord.catalogue import results_folder
from accord.evaluation import accuracy, best_of_n_curve
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce import Claim, Primary, judge, paired_interval

ARMS = ("base", "oracle", "placebo", "new", "old")
CLAIM = Claim("raft", "new is better than old", (Primary("new", "old"),), ARMS, ("new", "old"))
EQUAL = dict.fromkeys(ARMS, 100.0)


def table(effect: float, seeds: int = 5, seed: int = 0, noise: float = 0.02, **more: np.ndarray) -> dict:
    g = np.random.default_rng(seed)
    shared = 0.01 * g.standard_normal(seeds)
    means = {"base": 0.5, "oracle": 0.9, "old": 0.6, "new": 0.6 + effect, "placebo": 0.6 + effect}
    return {a: {"gold": (m + shared + noise * g.standard_normal(seeds)).tolist()} for a, m in means.items()} | {
        a: {"gold": x.tolist()} for a, x in more.items()
    }


def test_a_null_effect_holds_no_oftener_than_it_should_and_a_true_one_is_found() -> None:
    null = [judge(CLAIM, table(0.0, seed=s), EQUAL).verdict for s in range(1500)]
    judged = [v for v in null if v != "no verdict"]
    assert len(judged) > 1200
    assert sum(v == "holds" for v in judged) / len(judged) < 0.025 + 3 * (0.025 * 0.975 / len(judged)) ** 0.5
    true = [judge(CLAIM, table(0.15, seed=s), EQUAL).verdict for s in range(200)]
    assert sum(v == "holds" for v in true) / sum(v != "no verdict" for v in true) > 0.95
    harm = [judge(CLAIM, table(-0.15, seed=s), EQUAL).verdict for s in range(200)]
    assert sum(v == "fails" for v in harm) / sum(v != "no verdict" for v in harm) > 0.95


def test_the_interval_is_the_paired_t_interval() -> None:
    x = np.random.default_rng(0).standard_normal(7)
    low, high = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    found = paired_interval(x.tolist())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert paired_interval([1.0]).low == -float("inf")


def test_every_primary_must_hold_and_margins_count() -> None:
    two = replace(CLAIM, primaries=(Primary("new", "old"), Primary("new", "old", margin=0.5)))
    assert judge(two, table(0.15), EQUAL).verdict == "mixed"
    near = replace(CLAIM, primaries=(Primary("new", "old", margin="not worse"),))
    assert judge(near, table(-0.01, noise=0.002), EQUAL).verdict == "holds"
    less = replace(CLAIM, primaries=(Primary("old", "new", sign=-1),))
    assert judge(less, table(0.15, placebo=np.array(table(0.0, seed=1)["new"]["gold"])), EQUAL).verdict == "holds"


@pytest.mark.parametrize(
    ("change", "compute", "reason"),
    [
        ({"oracle": np.full(5, 0.52)}, EQUAL, "headroom"),
        ({}, {**EQUAL, "new": 120.0}, "compute"),
        ({"placebo": np.full(5, 0.3)}, EQUAL, "placebo"),
    ],
)
def test_no_verdict_where_nothing_is_proven(change: dict, compute: dict, reason: str) -> None:
    judged = judge(CLAIM, table(0.15, **change), compute)
    assert judged.verdict == "no verdict"
    assert reason in judged.reasons[0]


def test_too_few_seeds_and_a_plain_arm_that_does_not_collapse_give_no_verdict() -> None:
    assert judge(CLAIM, table(0.3, seeds=3), EQUAL).verdict == "no verdict"
    hacking = replace(CLAIM, collapses="old")
    assert "collapse" in judge(hacking, table(0.15), EQUAL).reasons[0]
    assert judge(hacking, table(0.15, old=np.full(5, 0.2)), EQUAL).verdict == "holds"


def test_a_claims_hash_follows_its_content() -> None:
    assert CLAIM.hash == replace(CLAIM).hash
    assert CLAIM.hash != replace(CLAIM, seeds=6).hash
    with pytest.raises(ValueError, match="lacks arms"):
        replace(CLAIM, arms=("new", "old"))


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


def test_committed_results_belong_to_the_committed_claims() -> None:
    """A result carries its claim's hash; its verdict is what the rules say of its numbers."""
    import importlib
    import pkgutil

    from accord.reproduce import systems

    modules = [importlib.import_module(f"{systems.__name__}.{m.name}") for m in pkgutil.iter_modules(systems.__path__)]
    for module in modules:
        path = results_folder() / f"{module.CLAIM.name}.json"
        if not path.is_file():
            continue
        result = json.loads(path.read_text())
        assert result["claim_hash"] == module.CLAIM.hash, module.CLAIM.name
        assert result["verdict"] == judge(module.CLAIM, result["measures"], result["compute"]).verdict


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
