"""Several rewards as one: ensembles, sums, the logical AND; nothing that one of them says is lost."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ConfigError
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import Ensemble, Scores, Span, combine, score
from accord.rewards.combine import How
from accord.rewards.shaping import ceil, log_sigmoid_centred
from accord.search import best_of_n
from told import call, fixed

floats = st.floats(-20, 20)


@given(st.lists(floats, min_size=2, max_size=5), st.randoms())
def test_aggregators_of_an_ensemble(values: list[float], random) -> None:  # type: ignore[no-untyped-def]
    """Card 91, property 1: equal members, bounds, permutation; numpy for the numbers."""
    shuffled = random.sample(values, len(values))
    for how, wanted in (("mean", np.mean), ("median", np.median), ("min", np.min)):
        said = float(call(Ensemble([fixed([v]) for v in values], how), 1).values)  # type: ignore[arg-type]
        assert said == pytest.approx(float(wanted(values)), abs=1e-4)
        assert said == pytest.approx(float(call(Ensemble([fixed([v]) for v in shuffled], how), 1).values), abs=1e-4)  # type: ignore[arg-type]
        assert min(values) - 1e-4 <= said <= max(values) + 1e-4
    said = call(Ensemble([fixed([v]) for v in values], "mean-std", k=0.5), 1)
    assert float(said.values) == pytest.approx(np.mean(values) - 0.5 * np.std(values), abs=1e-3)
    assert float(said.std[0]) == pytest.approx(float(np.std(values)), abs=1e-3)  # type: ignore[index]
    same = call(Ensemble([fixed([values[0]])] * 3, "mean-std"), 1)
    assert float(same.values) == pytest.approx(values[0], abs=1e-4)


def test_mean_minus_std_can_lie_below_the_lowest_member() -> None:
    said = float(call(Ensemble([fixed([v]) for v in (0.0, 0.0, 3.0)], "mean-std"), 1).values)
    assert said == pytest.approx(1 - math.sqrt(2), abs=1e-5)


@pytest.mark.parametrize(("how", "changes"), [("mean", False), ("median", True), ("min", True), ("mean-std", True)])
def test_offsets_of_members_change_the_choice_of_all_but_the_mean(how: str, changes: bool) -> None:
    """Card 91, property 2: adding c_i to member i."""
    table = torch.tensor([[0.0, 4.0, 2.0], [3.0, 0.0, 2.5], [1.0, 2.5, 2.0]])  # member, answer

    def best(offsets: torch.Tensor) -> int:
        members = [fixed(row.tolist()) for row in table + offsets[:, None]]
        return int(call(Ensemble(members, how), 3).values.argmax())  # type: ignore[arg-type]

    choices = {
        best(torch.tensor(o))
        for o in ([0.0, 0, 0], [10.0, 0, 0], [0.0, 10, 0], [0.0, 0, 10], [-10.0, 0, 0], [5.0, -5, 0])
    }
    assert (len(choices) > 1) == changes


def test_gaussian_members_follow_order_statistics() -> None:
    """Card 91, property 5: true score of best-of-n by the mean of m members; without own noise nothing is gained."""
    g = torch.Generator().manual_seed(0)
    n, trials = 16, 20_000
    expected_max = float(torch.randn(trials, n, generator=g).amax(-1).mean())
    true, shared = torch.randn(trials, n, generator=g), 0.7 * torch.randn(trials, n, generator=g)
    for m, own in ((1, 1.0), (5, 1.0), (5, 0.0)):
        noise = own * torch.randn(trials, n, m, generator=g).mean(-1)
        chosen = (true + shared + noise).argmax(-1, keepdim=True)
        wanted = expected_max / math.sqrt(1 + 0.49 + own**2 / m)
        assert float(true.gather(-1, chosen).mean()) == pytest.approx(wanted, abs=0.03)


@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=4))
def test_combinations_against_their_formulas(rows: list[tuple[float, float]]) -> None:
    parts = {"a": fixed([r[0] for r in rows]), "b": fixed([r[1] for r in rows])}
    a, b = (np.array([r[i] for r in rows]) for i in (0, 1))
    log_s = lambda z: -np.logaddexp(0, -z)  # noqa: E731
    wanted: dict[How, np.ndarray] = {
        "sum": a + b, "product": a * b, "min": np.minimum(a, b), "mean": (a + b) / 2, "median": (a + b) / 2,
        "mean-std": (a + b) / 2 - abs(a - b) / 2, "logsigmoid-sum": log_s(a) + log_s(b),
    }  # fmt: skip
    for how, w in wanted.items():
        said = call(combine(parts, how), len(rows))
        assert np.allclose(said.values, w, atol=1e-2 if how == "product" else 2e-3), how
        assert np.allclose(said.aspects["a"], a, atol=1e-4)
    said = call(combine(parts, "sum", weights={"a": 2.0, "b": -1.0}), len(rows))
    assert np.allclose(said.values, 2 * a - b, atol=1e-3)


def test_the_logical_and_cannot_be_bought_off() -> None:
    """Card 56, property 5: (9, -8) beats (0, 0) as a raw sum, not as an AND; the AND is below each log p."""
    raw, conjunction = (
        call(combine({"a": fixed([9.0, 0.0]), "b": fixed([-8.0, 0.0])}, how), 2).values
        for how in ("sum", "logsigmoid-sum")
    )  # type: ignore[arg-type]
    assert raw[0] > raw[1]
    assert conjunction.tolist() == pytest.approx([-8.0, -1.386], abs=1e-3)


def test_single_reward_best_of_n_is_unchanged_by_lsc_and_two_reward_best_of_n_is_not() -> None:
    """Card 56, property 6."""
    a, b = torch.tensor([3.0, 0.5, -1.0]), torch.tensor([-2.5, 0.4, 1.0])
    z = torch.zeros(3)
    assert log_sigmoid_centred(a, z).argmax() == a.argmax()
    assert int((2 * a + b).argmax()) == 0
    assert int((2 * log_sigmoid_centred(a, z) + log_sigmoid_centred(b, z)).argmax()) == 1


def test_rewards_that_do_not_apply_are_left_out() -> None:
    parts = {"a": fixed([1.0, None, None]), "b": fixed([3.0, 5.0, None])}
    said = call(combine(parts, "mean"), 3)
    assert said.values.tolist() == [2.0, 5.0, 0.0]
    assert said.valid.tolist() == [True, True, False]


@pytest.mark.parametrize("options", [{"how": "best"}, {"weights": {"c": 1.0}}, {"how": "min", "weights": {"a": 1.0}}])
def test_senseless_combinations_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError):
        combine({"a": fixed([1.0])}, **options)


def judged(factor: float, *names: str):  # type: ignore[no-untyped-def]
    """A reward that carries these beside its values, each telling the sample apart."""

    def reward(*, prompts, completions, **columns) -> Scores:  # type: ignore[no-untyped-def]
        x = torch.tensor([factor * int(c) for c in completions])
        more = {"std": x + 1, "answer": [f"answer {c}" for c in completions], "text": [f"read {c}" for c in completions],
                "parsed": x > 1, "spans": [[Span(0, 1, float(v))] for v in x], "steps": x[:, None], "regions": x[:, None, None]}  # fmt: skip
        return Scores.of(x, aspects={"half": x / 2}, **{n: more[n] for n in names})

    return reward


def test_a_combination_keeps_all_that_its_rewards_say() -> None:
    said = call(combine({"a": judged(1.0, "std", "answer", "text"), "b": judged(2.0, "answer", "spans")}), 3)
    assert said.parts["a"].std is not None
    assert said.parts["a"].std.tolist() == [1, 2, 3]
    assert said.parts["b"].answer == ["answer 0", "answer 1", "answer 2"]
    assert {k: v.tolist() for k, v in said.aspects.items()} == {
        "a": [0, 1, 2], "b": [0, 2, 4], "a/half": [0, 0.5, 1], "b/half": [0, 1, 2]}  # fmt: skip
    assert said.text == ["read 0", "read 1", "read 2"]  # one of them alone has it
    assert said.parts["b"].spans is not None
    pieces = [[Span(0, 1, float(i)), *own] for i, own in enumerate(said.parts["b"].spans)]
    assert said.spans == pieces, "the other one's is the whole text"
    assert said.answer is None  # whose? each part's is in the parts
    outer = call(combine({"both": Ensemble([judged(1.0, "parsed"), judged(3.0)]), "c": fixed([0, 0, 0])}), 3)
    assert outer.parsed is not None
    assert outer.parsed.tolist() == [False, False, True]
    members = outer.parts["both"].members
    assert members is not None
    assert members.tolist() == [[0, 0], [1, 3], [2, 6]]


def test_scores_said_in_batches_and_shaped_are_those_said_at_once() -> None:
    names = ("std", "answer", "text", "parsed", "spans", "steps", "regions")
    reward = combine({"a": judged(1.0, *names), "b": fixed([5.0, 6.0, 7.0])})
    samples = {"prompts": ["p"] * 3, "completions": ["0", "1", "2"]}
    whole, parts = (score(ceil(reward, 7.0), **samples, batch_size=size) for size in (None, 1))  # type: ignore[arg-type]
    assert str(whole) == str(parts)
    assert whole.answer == ["answer 0", "answer 1", "answer 2"]
    assert whole.values.tolist() == [5, 7, 7]


def test_the_best_of_n_come_with_all_that_was_said_of_them(base_policy: LanguagePolicy) -> None:
    """And of them alone: row by row what the reward says of the chosen texts."""

    def reward(*, prompts, completions, **columns) -> Scores:  # type: ignore[no-untyped-def]
        x = torch.tensor([float(len(c) % 17) for c in completions])
        return Scores.of(x, answer=list(completions), members=torch.stack([x, x + 1], 1), std=x / 2, aspects={"a": -x})

    prompts = ["what is 2 plus 3 ?", "what is 4 plus 4 ?"]
    best, said = best_of_n(base_policy, reward, prompts, 5, Sampling(max_new_tokens=12), seed=1)
    assert said.answer == best.completions
    assert str(said) == str(reward(prompts=prompts, completions=best.completions))
    assert best.prompt_of_each() == prompts
