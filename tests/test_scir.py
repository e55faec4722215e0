"""SCIR: what its penalty is, which pairs it learns from, and that both opinions have a gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, kl_divergence

from accord import losses
from accord.algorithms import SelfConsistency
from accord.engine import Rows, Step
from accord.errors import ConfigError
from accord.feedback import Comparison
from conftest import tiny_policy

odds = st.lists(st.lists(st.floats(-6, 6), min_size=3, max_size=3), min_size=2, max_size=4)
PAIRS = [
    Comparison(prompt=f"what is {i} plus 3 ?", chosen="the answer is 5 .", rejected=f"it is {i} .") for i in range(4)
]
ASK = "{prompt} {first} or {second} ?"


@given(odds)
def test_the_divergence_is_that_of_the_opinions_and_nothing_where_they_agree(rows: list[list[float]]) -> None:
    z = torch.tensor(rows, dtype=torch.float64)
    p = [Bernoulli(logits=x) for x in z]
    pairs = [(m, k) for m in range(len(p)) for k in range(m)]
    wanted = sum((kl_divergence(p[m], p[k]) + kl_divergence(p[k], p[m])) / 2 for m, k in pairs) / len(pairs)
    found = losses.inconsistency(z)
    assert torch.allclose(found, torch.as_tensor(wanted), atol=1e-6)
    assert torch.allclose(losses.inconsistency(-z), found), "whichever answer is first"
    assert torch.allclose(losses.inconsistency(z.flip(0)), found), "whoever says it"
    assert torch.allclose(losses.inconsistency(z[:1].expand(3, -1)), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    entropy = torch.stack([x.entropy() for x in p]).mean(0)
    assert torch.allclose(losses.inconsistency(z, 0.3), found + 0.3 * entropy)
    assert not losses.inconsistency(z[:1]).any(), "one opinion has nobody to differ from"


def test_the_penalty_draws_opinions_together_and_entropy_makes_them_sure() -> None:
    z = torch.tensor([[1.5], [-0.5]], dtype=torch.float64, requires_grad=True)
    together = torch.autograd.grad(losses.inconsistency(z).sum(), z)[0]
    assert together[0] > 0 > together[1]
    alone = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(losses.inconsistency(alone, 1.0).sum(), alone)[0] < 0
    assert torch.autograd.gradcheck(
        lambda x: losses.inconsistency(x, 0.2), torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    )


def made(**options: Any) -> SelfConsistency:
    # "it" and "the" are words of the tiny policy.
    return SelfConsistency(
        tiny_policy(), tiny_policy(seed=1).freeze("now"), template=ASK, labels=("it", "the"), **options
    )  # type: ignore[arg-type]


def test_only_pairs_on_which_both_agree_are_learned_from_and_never_by_their_label() -> None:
    algorithm = made(weight=0.0)
    given = algorithm.experience(Rows(PAIRS), Step(0, 0))
    found = algorithm.likelihood(given)
    assert given.before is not None
    told = algorithm.opinions(given, found, given.before)
    agreed = (told[0] > 0) == (told[1] > 0)
    lead = torch.where(told[0] > 0, 1.0, -1.0) * (found.ratio[0::2] - found.ratio[1::2])
    wanted = losses.pairwise(0.1 * lead)[agreed].sum()
    assert torch.allclose(algorithm(given).sum, wanted, atol=1e-5)
    turned = [p.flipped() for p in PAIRS]
    again = algorithm(algorithm.experience(Rows(turned), Step(0, 0))).sum
    assert torch.allclose(again, wanted, atol=1e-5), "a label is not looked at"
    apart = [i for i in range(4) if not agreed[i]]
    for i in apart:
        assert not algorithm(given.select([i])).sum.detach()


def test_both_opinions_learn_and_what_the_implicit_one_compares_with_does_not() -> None:
    algorithm = made(weight=1.0, beta=1e-6)
    given = algorithm.experience(Rows(PAIRS), Step(0, 0))
    assert given.before is not None
    told = algorithm.opinions(given, algorithm.likelihood(given), given.before)
    for opinion in told:
        grads = torch.autograd.grad(
            opinion.sum(), list(algorithm.policy.parameters()), retain_graph=True, allow_unused=True
        )
        assert any(g is not None and g.abs().sum() > 0 for g in grads)
    before = float(losses.inconsistency(told.detach()).sum())
    optimiser = torch.optim.SGD(algorithm.policy.parameters(), lr=2e-3)
    for _ in range(5):
        optimiser.zero_grad()
        algorithm(given).sum.backward()
        optimiser.step()
    after = algorithm.opinions(given, algorithm.likelihood(given), given.before)
    assert float(losses.inconsistency(after.detach()).sum()) < before


def test_the_same_answer_twice_is_even_for_both() -> None:
    same = [Comparison(prompt="what is 2 plus 3 ?", chosen="it is 5 .", rejected="it is 5 .")]
    algorithm = made()
    given = algorithm.experience(Rows(same), Step(0, 0))
    assert given.before is not None
    assert algorithm.opinions(given, algorithm.likelihood(given), given.before).abs().max() < 1e-4
    assert torch.isfinite(algorithm(given).sum)
    with pytest.raises(ConfigError, match="weight and eta >= 0"):
        made(eta=-1.0)
