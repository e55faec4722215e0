"""Properties of the losses, and parity with TRL's own on the same tensors."""

import math

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import losses
from accord.errors import ConfigError
from accord.losses import LogProbs

N = 6
finite = st.floats(-30, 30, allow_nan=False)


def pair(seed: int = 0, n: int = N, requires_grad: bool = False) -> tuple[LogProbs, LogProbs]:
    g = torch.Generator().manual_seed(seed)

    def one() -> LogProbs:
        policy = (-20 * torch.rand(n, generator=g) - 1).requires_grad_(requires_grad)
        return LogProbs(policy, torch.randint(3, 20, (n,), generator=g).float(), -20 * torch.rand(n, generator=g) - 1)

    return one(), one()


@given(finite, st.floats(0, 1), finite, st.floats(0, 5))
def test_pairwise_is_the_weighted_cross_entropy_of_a_logistic_choice(d: float, p: float, m: float, w: float) -> None:
    said = float(losses.pairwise(torch.tensor([d]).double(), p, m, w))
    z = d - m
    wanted = -w * (p * scipy.special.log_expit(z) + (1 - p) * scipy.special.log_expit(-z))
    assert said == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_pairwise_flip_equals_target_zero() -> None:
    d = torch.linspace(-5, 5, 11)
    assert torch.allclose(losses.pairwise(-d), losses.pairwise(d, target=0.0))


def test_dpo_is_bradley_terry_on_implicit_rewards_and_log_two_at_the_reference() -> None:
    c, r = pair()
    assert torch.allclose(losses.dpo(c, r, 0.3), losses.bradley_terry(0.3 * c.ratio, 0.3 * r.ratio))
    same = LogProbs(c.policy, c.length, c.policy)
    assert torch.allclose(losses.dpo(same, same), torch.full((N,), math.log(2)))


def test_dpo_takes_beta_per_pair() -> None:
    c, r = pair()
    beta = torch.linspace(0.1, 1, N)
    each = torch.stack([losses.dpo(c[i : i + 1], r[i : i + 1], float(beta[i]))[0] for i in range(N)])
    assert torch.allclose(losses.dpo(c, r, beta), each)


def test_losses_ignore_the_reference_gradient() -> None:
    c, r = pair(requires_grad=True)
    reference = c.reference.clone().requires_grad_()  # type: ignore[union-attr]
    losses.dpo(LogProbs(c.policy, c.length, reference), r).sum().backward()
    assert reference.grad is None
    assert c.policy.grad is not None


def test_a_loss_that_needs_a_reference_says_so() -> None:
    c = LogProbs(torch.zeros(2), torch.ones(2))
    with pytest.raises(ConfigError, match="reference"):
        losses.dpo(c, c)


def test_rpo_is_dpo_plus_sft_with_the_papers_gradients() -> None:
    """Card 55: eta 0 is DPO bit for bit, the difference is -eta beta l_c, gradients as printed there."""
    c, r = pair(requires_grad=True)
    beta, eta = 0.3, 0.07
    assert torch.equal(losses.rpo(c, r, beta, 0.0), losses.dpo(c, r, beta))
    assert torch.allclose(losses.rpo(c, r, beta, eta) - losses.dpo(c, r, beta), -eta * beta * c.policy, atol=1e-6)
    losses.rpo(c, r, beta, eta).sum().backward()
    s = torch.sigmoid(-beta * (c.ratio - r.ratio)).detach()
    assert torch.allclose(c.policy.grad, -beta * (s + eta), atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(r.policy.grad, beta * s, atol=1e-6)  # type: ignore[arg-type]


def test_rpo_average_equals_sum_at_equal_lengths() -> None:
    c, r = pair()
    c, r = (LogProbs(x.policy, torch.full((N,), 12.0), x.reference) for x in (c, r))
    beta, weight = 0.2, 0.4
    assert torch.allclose(losses.rpo(c, r, beta, weight, average=True), losses.rpo(c, r, beta, weight / (beta * 12)))


def test_rpo_is_the_maximin_policy_on_a_table() -> None:
    """Card 55, property 3: the convex reward problem and the policy problem have the same solution."""
    torch.manual_seed(0)
    actions, beta, eta = 6, 0.5, 0.1
    reference = torch.log_softmax(torch.randn(actions).double(), 0)
    wins, loses = torch.randint(0, actions, (2, 30))
    keep = wins != loses
    wins, loses = wins[keep], loses[keep]
    base = torch.full((actions,), 1 / actions).double()

    def minimise(f, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        optimiser = torch.optim.LBFGS(
            [x], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = f(x)
            loss.backward()
            return loss

        optimiser.step(closure)
        return x.detach()

    def by_reward(r: Tensor) -> Tensor:
        fit = losses.bradley_terry(r[wins], r[loses]).sum()
        return eta * (beta * torch.logsumexp(reference + r / beta, 0) - base @ r) + fit

    def by_policy(logits: Tensor) -> Tensor:
        logp = torch.log_softmax(logits, 0)
        h = logp - reference
        return losses.pairwise(beta * (h[wins] - h[loses])).sum() - eta * beta * base @ logp

    r = minimise(by_reward, torch.zeros(actions).double().requires_grad_())
    logits = minimise(by_policy, torch.zeros(actions).double().requires_grad_())
    assert torch.allclose(torch.softmax(reference + r / beta, 0), torch.softmax(logits, 0), atol=1e-5)


def test_rpo_prefers_mass_on_covered_actions_where_dpo_does_not_care() -> None:
    """Card 55, property 4: only 1 > 2 was seen; the third action is uncovered."""
    reference = torch.log(torch.tensor([0.1, 0.1, 0.8]))

    def logprobs(p: list[float], i: int) -> LogProbs:
        return LogProbs(torch.log(torch.tensor(p))[i : i + 1], torch.ones(1), reference[i : i + 1])

    low, high = [0.02, 0.01, 0.97], [0.6, 0.3, 0.1]
    dpo = [losses.dpo(logprobs(p, 0), logprobs(p, 1)) for p in (low, high)]
    rpo = [losses.rpo(logprobs(p, 0), logprobs(p, 1)) for p in (low, high)]
    assert torch.allclose(*dpo)
    assert float(rpo[1]) < float(rpo[0])


def test_kto_saturates_and_is_half_at_the_reference_point() -> None:
    x = LogProbs(torch.tensor([0.0, 0.0, 500.0, -500.0]), torch.ones(4), torch.zeros(4))
    said = losses.kto(x, torch.tensor([True, False, True, False]), torch.tensor(0.0))
    assert torch.allclose(said, torch.tensor([0.5, 0.5, 0.0, 0.0]))
    assert torch.equal(
        losses.kto(x, torch.tensor([True] * 4), torch.tensor(-3.0)),
        losses.kto(x, torch.tensor([True] * 4), torch.tensor(0.0)),
    )


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=6))
def test_plackett_luce_normalises_over_all_orders_and_is_bradley_terry_for_two(scores: list[float]) -> None:
    import itertools

    s = torch.tensor(scores).double()
    if len(scores) <= 5:
        total = sum(
            math.exp(-float(losses.plackett_luce(s[list(o)][None]))) for o in itertools.permutations(range(len(scores)))
        )
        assert total == pytest.approx(1, rel=1e-6)
    two = s[:2]
    assert torch.allclose(losses.plackett_luce(two[None]), losses.bradley_terry(two[:1], two[1:]))


def test_plackett_luce_ignores_padding_in_value_and_gradient() -> None:
    padded = torch.tensor([[2.0, 1.0, 9.0], [3.0, 2.0, 1.0]], requires_grad=True)
    valid = torch.tensor([[True, True, False], [True, True, True]])
    said = losses.plackett_luce(padded, valid)
    assert torch.allclose(said[0], losses.plackett_luce(padded[:1, :2])[0])
    said.sum().backward()
    assert bool(torch.isfinite(padded.grad).all())  # type: ignore[arg-type]
    assert padded.grad[0, 2] == 0  # type: ignore[index]


def test_the_centring_term_pins_the_mean_of_a_pair_and_has_its_closed_gradient() -> None:
    """Card 91, property 3."""
    c = torch.tensor([1.5], requires_grad=True)
    r = torch.tensor([0.5], requires_grad=True)
    eta = 0.01
    (losses.bradley_terry(c, r, centre=eta) - losses.bradley_terry(c, r)).sum().backward()
    assert torch.allclose(c.grad, torch.tensor([2 * eta * 2.0]))  # type: ignore[arg-type]
    assert torch.allclose(r.grad, torch.tensor([2 * eta * 2.0]))  # type: ignore[arg-type]


def test_regression_averages_only_what_was_rated() -> None:
    predicted, rating = torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 0.0]])
    assert losses.regression(predicted, rating, torch.tensor([[True, False]])).tolist() == [1.0]
    assert losses.regression(predicted, rating, torch.tensor([[False, False]])).tolist() == [0.0]


@given(st.integers(1, 5), st.integers(1, 7), st.floats(0.5, 1), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=40)
def test_gae_is_the_discounted_sum_of_residuals(n: int, t: int, gamma: float, lam: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(n, t, generator=g), torch.randn(n, t, generator=g)
    mask = torch.rand(n, t, generator=g) > 0.3
    advantages, returns = losses.gae(rewards, values, mask, gamma, lam)
    for i in range(n):
        own = mask[i].nonzero()[:, 0].tolist()
        r, v = rewards[i, own].tolist(), values[i, own].tolist()
        for k, at in enumerate(own):
            wanted = sum(
                (gamma * lam) ** j * (r[k + j] + gamma * (v[k + j + 1] if k + j + 1 < len(own) else 0) - v[k + j])
                for j in range(len(own) - k)
            )
            assert float(advantages[i, at]) == pytest.approx(wanted, abs=1e-4)
            assert float(returns[i, at]) == pytest.approx(wanted + v[k], abs=1e-4)
    assert not advantages[~mask].any()


def test_gae_limits() -> None:
    """lambda 1, gamma 1: return minus value; lambda 0: one residual."""
    r, v = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.7]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert torch.allclose(losses.gae(r, v, mask, 1.0, 1.0)[0], 1 - v)
    assert torch.allclose(losses.gae(r, v, mask, 1.0, 0.0)[0], torch.tensor([[0.3, 0.2, 0.3]]))


def test_the_clipped_surrogate_is_reinforce_at_the_old_policy_and_flat_beyond_the_clip() -> None:
    old = torch.full((1, 4), -1.0)
    advantage = torch.tensor([[1.0, -1.0, 2.0, 0.5]])
    new = old.clone().requires_grad_()
    losses.clipped_surrogate(new, old, advantage).sum().backward()
    assert torch.allclose(new.grad, -advantage)  # type: ignore[arg-type]
    new = (old + torch.tensor([[0.5, -0.5, 0.05, 0.5]])).requires_grad_()
    losses.clipped_surrogate(new, old, advantage).sum().backward()
    assert new.grad[0, 0] == 0  # type: ignore[index]
    assert new.grad[0, 1] == 0  # type: ignore[index]
    assert new.grad[0, 2] != 0  # type: ignore[index]


def test_kl_estimators_agree_in_expectation_with_the_exact_kl() -> None:
    p = torch.log_softmax(torch.tensor([0.3, -0.2, 0.9, 0.0]).double(), 0)
    q = torch.log_softmax(torch.tensor([0.0, 0.1, 0.6, 0.2]).double(), 0)
    exact = float((p.exp() * (p - q)).sum())
    for kind, tolerance in (("k1", 1e-9), ("k3", 1e-9), ("k2", 0.01)):
        mean = float((p.exp() * losses.kl_estimate(p[None], q[None], kind)[0]).sum())  # type: ignore[arg-type]
        assert mean == pytest.approx(exact, abs=tolerance)
    assert bool((losses.kl_estimate(p[None], q[None], "k3") >= 0).all())


def test_kl_estimates_of_averaged_log_probs_are_those_of_the_action_over_its_parts() -> None:
    """A Gaussian step of 50 elements: its KL is ``|m - r|^2 / 2 s^2``, wherever log-probs are means as well as sums."""
    g = torch.Generator().manual_seed(0)
    gap, s, parts = 0.1, 0.7, 50
    x = s * torch.randn(40000, parts, generator=g)
    p, q = (torch.distributions.Normal(m, s).log_prob(x) for m in (0.0, gap))
    exact = gap**2 / (2 * s**2)
    for kind, tolerance in (("k1", 0.05), ("k2", 0.3), ("k3", 0.05)):
        mean = float(losses.kl_estimate(p.mean(1, keepdim=True), q.mean(1, keepdim=True), kind, parts).mean())  # type: ignore[arg-type]
        assert mean == pytest.approx(exact, rel=tolerance)


@pytest.mark.parametrize("kind", ["k2", "k3"])
@pytest.mark.parametrize("parts", [1, 16384])
@pytest.mark.parametrize("far", [-30.0, -0.01, 0.01, 3.0])
def test_a_kl_loss_pulls_towards_the_reference_however_far_the_policy_is(kind: str, parts: int, far: float) -> None:
    x = torch.tensor([[far]], requires_grad=True)
    losses.kl_estimate(x, torch.zeros(1, 1), kind, parts).sum().backward()  # type: ignore[arg-type]
    assert x.grad is not None
    assert torch.sign(x.grad).item() == math.copysign(1, far)
    assert bool(x.grad.isfinite().all())


def test_masked_means_are_safe_on_empty_masks_and_blind_to_nan_outside() -> None:
    x = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
    mask = torch.tensor([[True, False], [False, False]])
    assert losses.masked_mean(x, mask, -1).tolist() == [1.0, 0.0]
    white = losses.masked_whiten(torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[True, True, False]]))
    assert np.allclose(white, [[-1, 1, 0]], atol=1e-4)


def test_dpo_gradient_against_finite_differences() -> None:
    c, r = pair(3, 3)
    reference = c.reference.double(), r.reference.double()  # type: ignore[union-attr]

    def f(a: Tensor, b: Tensor) -> Tensor:
        x, y = LogProbs(a, c.length.double(), reference[0]), LogProbs(b, r.length.double(), reference[1])
        return torch.cat(
            [losses.dpo(x, y, 0.2, 0.1), losses.ipo(x, y), losses.simpo(x, y), losses.orpo(x, y), losses.rpo(x, y)]
        )

    assert torch.autograd.gradcheck(f, (c.policy.double().requires_grad_(), r.policy.double().requires_grad_()))


def test_tied_places_have_no_order_and_are_drawn_together() -> None:
    scores = torch.tensor([[2.0, 0.5, 1.5, -1.0]], requires_grad=True)
    tied = torch.tensor([[False, False, True, False]])
    swapped = scores[:, [0, 2, 1, 3]]
    assert torch.allclose(losses.plackett_luce(scores, tied=tied), losses.plackett_luce(swapped, tied=tied))
    (grad,) = torch.autograd.grad(losses.plackett_luce(scores, tied=tied).sum(), scores)
    assert grad[0, 1] < grad[0, 2]  # the lower of the two rises against the higher
    assert torch.equal(losses.plackett_luce(scores, tied=torch.zeros_like(tied)), losses.plackett_luce(scores))
    both = torch.zeros(1, 2, requires_grad=True)
    (flat,) = torch.autograd.grad(losses.plackett_luce(both, tied=torch.tensor([[False, True]])).sum(), both)
    assert torch.equal(flat, torch.zeros(1, 2))
