"""Transforms of a reward: bounded, centred, on a running scale."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord import rewards
from accord.errors import RewardError
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import References, score
from accord.rewards.shaping import ceil, log_sigmoid_centred, preference_as_reward
from told import call, fixed

floats = st.floats(-20, 20)


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
