"""The two other parts of Secrets of RLHF II: features that are drawn apart, and a gradient taken a step ahead (voting: test_reward_repair.py)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.engine import Rows, Step, fit
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison
from accord.losses import simcse, swav
from accord.losses.contrastive import codes
from accord.policies.base import Group
from accord.rewards import BradleyTerry, ContrastiveFitting, HeadReward, MetaFitting, WordFeatures, answers_of
from accord.rewards.contrastive_fitting import last_layer, pooled
from accord.rewards.fitting import RewardFitting
from accord.rewards.meta_fitting import difference
from accord.worlds import letters
from conftest import tiny_policy

PAIRS = [Comparison(prompt=f"p{i}", chosen=f"good thing {i}", rejected=f"bad thing {i % 3}") for i in range(8)]
GROUPS = [Group(p.prompt, (p.chosen, p.rejected)) for p in PAIRS]
WORDS = WordFeatures(32)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The contrast.


def test_one_view_of_things_at_right_angles_costs_nothing_and_of_equal_things_their_logarithm() -> None:
    apart = torch.eye(5)
    assert float(simcse(apart, apart, 0.05).max()) < 1e-6
    assert torch.allclose(simcse(torch.ones(5, 3), torch.ones(5, 3)), torch.full((5,), 5.0).log())
    a, b = random(6, 4), random(6, 4, seed=1)
    assert torch.allclose(simcse(3 * a, b / 7), simcse(a, b), atol=1e-5), "lengths say nothing"


def test_codes_share_themselves_out_among_rows_exactly_and_prototypes_nearly() -> None:
    scores = random(40, 8) / 10
    few, many = codes(scores), codes(scores, rounds=50)
    for found, error in ((few, 0.35), (many, 1e-3)):
        assert torch.allclose(found.sum(1), torch.ones(40), atol=1e-5)
        assert float((found.sum(0) / 5 - 1).abs().max()) < error
    assert float((few.sum(0) / 5 - 1).abs().max()) > float((many.sum(0) / 5 - 1).abs().max())


def test_a_view_foretells_the_code_of_the_other_and_no_gradient_goes_through_codes() -> None:
    a, b, centres = random(12, 4), random(12, 4, seed=1), random(3, 4, seed=2)
    assert torch.allclose(swav(a, b, centres), swav(b, a, centres))
    near = (4 * torch.eye(3)).repeat(4, 1)
    assert float(swav(near, near, torch.eye(3)).mean()) < 0.01 < float(swav(near, near.roll(1, 0), torch.eye(3)).mean())
    x = a.clone().requires_grad_()
    swav(x, b, centres).sum().backward()
    fixed = a.clone().requires_grad_()
    unit = [nn.functional.normalize(v, dim=-1) for v in (fixed, b, centres)]
    s, t = unit[0] @ unit[2].T, unit[1] @ unit[2].T
    (-(codes(s) * (t / 0.1).log_softmax(-1)).sum() - (codes(t) * (s / 0.1).log_softmax(-1)).sum()).backward()
    assert torch.allclose(x.grad, fixed.grad, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("of", ["plain", "difference"])
def test_turning_every_pair_round_changes_nothing_of_what_is_contrasted(of: str) -> None:
    learner = ContrastiveFitting(HeadReward(WORDS, hidden=8), of=of)
    s, t = random(16, 8), random(16, 8, seed=1)
    turned = [v.reshape(8, 2, 8).flip(1).reshape(16, 8) for v in (s, t)]
    assert torch.allclose(learner.contrast(s, t).sort().values, learner.contrast(*turned).sort().values, atol=1e-5)


def kinds() -> list[Any]:
    trunk = BradleyTerry.load(letters.WEIGHTS)
    nn.init.normal_(trunk.core.score.weight)
    return [HeadReward(WORDS, hidden=8), trunk]


@pytest.mark.parametrize("reward", kinds(), ids=["head", "trunk"])
def test_without_weight_and_dropout_it_is_the_plain_loss_of_any_reward(reward: Any) -> None:
    assert torch.allclose(last_layer(reward)(pooled(reward, GROUPS)).float(), reward.values_of(GROUPS), atol=1e-5)
    learner = ContrastiveFitting(reward, beta=0.0, rate=1e-9)
    assert torch.allclose(learner(Rows(PAIRS)).sum, RewardFitting(reward)(Rows(PAIRS)).sum, rtol=1e-5)


@pytest.mark.parametrize("how", ["simcse", "swav"])
def test_contrast_draws_the_leads_of_different_pairs_apart_and_plain_training_together(how: str) -> None:
    def alike(beta: float) -> float:
        reward = HeadReward(WORDS, hidden=16)
        fit(ContrastiveFitting(reward, how=how, beta=beta), PAIRS, steps=25, batch_size=8, lr=1e-2, progress=False)
        read = pooled(reward, GROUPS).detach()
        lead = nn.functional.normalize(read[0::2] - read[1::2], dim=-1)
        return float((lead @ lead.T).mean())

    assert alike(5.0) < alike(0.0) - 0.1
    learner = ContrastiveFitting(HeadReward(WORDS, hidden=16), how=how)
    assert set(learner.trainables) == ({"reward", "prototypes"} if how == "swav" else {"reward"})


def test_what_has_nothing_below_its_last_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match="hidden layer"):
        ContrastiveFitting(HeadReward(WORDS, hidden=0), how="swav")
    with pytest.raises(ConfigError, match="rate in"):
        ContrastiveFitting(HeadReward(WORDS, hidden=2), rate=0.0)


# A step ahead.


def test_the_difference_lies_in_its_bounds_and_knows_neither_order_nor_level() -> None:
    values = random(6, 4)
    found = difference(values)
    assert float(difference(torch.zeros(1, 4))) == pytest.approx(3 / 8)
    assert float(difference(1e4 * values).max()) == pytest.approx(3 / 4)
    assert torch.allclose(difference(values[:, [2, 0, 3, 1]] + 5), found, atol=1e-5)
    x = values.double().requires_grad_()
    assert torch.autograd.gradcheck(difference, x)


SHIFTED = [Group(f"q{i}", (f"good {i} so", f"bad {i}", f"good good {i}")) for i in range(5)]


def linear() -> HeadReward:
    return HeadReward(WORDS, hidden=0, seed=3)


def gradient(learner: RewardFitting) -> list[Tensor]:
    learner.reward.zero_grad()
    learner(learner.experience(Rows(PAIRS), Step(0, 0))).sum.backward()
    return [p.grad.clone() for p in learner.reward.parameters()]


def test_with_no_step_ahead_it_is_plain_training_to_the_bit() -> None:
    plain, meta = linear(), linear()
    fit(RewardFitting(plain), PAIRS, steps=4, batch_size=4, lr=1e-2, progress=False)
    fit(MetaFitting(meta, SHIFTED, eta=0.0), PAIRS, steps=4, batch_size=4, lr=1e-2, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), meta.parameters(), strict=True))


def test_the_gradient_is_that_of_the_place_ahead_and_the_weights_stay_where_they_are() -> None:
    reward = linear()
    before = [p.detach().clone() for p in reward.parameters()]
    learner = MetaFitting(reward, SHIFTED, eta=0.5, prompts=5)
    found = gradient(learner)
    assert all(torch.equal(a, p) for a, p in zip(before, reward.parameters(), strict=True))
    ahead = linear()
    spread = difference(ahead.values_of(SHIFTED)[:, 0].reshape(5, 3)).mean()
    slopes = torch.autograd.grad(spread, list(ahead.parameters()), allow_unused=True)
    with torch.no_grad():
        for p, g in zip(ahead.parameters(), slopes, strict=True):
            p += 0.0 if g is None else 0.5 * g
    RewardFitting(ahead)(Rows(PAIRS)).sum.backward()
    assert all(torch.allclose(f, p.grad, atol=1e-6) for f, p in zip(found, ahead.parameters(), strict=True))  # type: ignore[arg-type]


def test_to_first_order_it_adds_the_hessian_times_the_slope_of_the_difference() -> None:
    reward = linear()
    weight = reward.head.weight  # type: ignore[union-attr]
    spread = difference(reward.values_of(SHIFTED)[:, 0].reshape(5, 3)).mean()
    (slope,) = torch.autograd.grad(spread, [weight])  # type: ignore[list-item]
    (g,) = torch.autograd.grad(RewardFitting(reward)(Rows(PAIRS)).sum, [weight], create_graph=True)  # type: ignore[list-item]
    (curved,) = torch.autograd.grad((g * slope).sum(), [weight])  # type: ignore[list-item]
    eta = 1e-2
    found = gradient(MetaFitting(reward, SHIFTED, eta=eta, prompts=5))[0]
    assert torch.allclose((found - g.detach()) / eta, curved, atol=0.02 * float(curved.abs().max()))


def test_answers_that_are_all_the_same_carry_no_signal() -> None:
    policy = tiny_policy()
    groups = answers_of(policy, ["p", "q"], 3, {"max_new_tokens": 4, "temperature": 0})
    assert groups == []
    many = answers_of(policy, ["p", "q"], 3, {"max_new_tokens": 4})
    assert [(g.prompt, len(g.completions)) for g in many] == [("p", 3), ("q", 3)]
    with pytest.raises(FeedbackError, match="equally many answers"):
        MetaFitting(linear(), [*SHIFTED, Group("q", ("a", "b"))])


def test_answers_of_the_policy_that_are_too_long_are_refused_before_training() -> None:
    long = [Group("p", ("yes " * 3000, "no"))]
    with pytest.raises(FeedbackError, match="token"):
        fit(MetaFitting(BradleyTerry.load(letters.WEIGHTS), long), PAIRS, steps=1, batch_size=2, progress=False)
