"""MODPO: where it is DPO, what its optimum is, and which way its margin pulls; implicit rewards."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from accord.algorithms import DPO, MODPO
from accord.engine import Rows, Step, check_rows
from accord.errors import ConfigError
from accord.feedback import Comparison
from accord.losses import LogProbs
from accord.policies.base import Group
from accord.rewards import ImplicitReward, Scores, combine, score
from conftest import tiny_policy

ANSWERS = ("a", "b", "c", "d", "e")
BETA = 0.5


class Table(nn.Module):
    """A policy over five answers, one logit each."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def draw(self, groups: Sequence[Group], seed: Any) -> None:
        return None

    def freeze(self, which: str = "base") -> "Table":
        return Table(self.logits.detach())

    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs:
        chosen = torch.tensor([ANSWERS.index(c) for g in groups for c in g.completions])
        found = log_softmax(self.logits, -1)[chosen]
        return LogProbs(found, torch.ones(len(found)), per_step=found[:, None])


def drawn(seed: int) -> Tensor:
    return torch.randn(5, generator=torch.Generator().manual_seed(seed))


def rewarding(values: Tensor) -> Any:
    return lambda *, prompts, completions, **columns: [float(values[ANSWERS.index(c)]) for c in completions]


def compared(values: Tensor) -> list[Comparison]:
    """Every pair both ways round, each as often as Bradley-Terry people of these rewards say it."""
    return [Comparison(prompt="?", chosen=a, rejected=b, columns={"p": float(torch.sigmoid(values[i] - values[j]))})
            for (i, a), (j, b) in permutations(enumerate(ANSWERS), 2)]  # fmt: skip


def optimum(algorithm: Any, policy: Table, rows: list[Comparison]) -> Tensor:
    check_rows(algorithm, rows)
    given = algorithm.experience(Rows(rows), Step(0, 0))
    optimiser = torch.optim.LBFGS([policy.logits], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = algorithm(given).sum
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return log_softmax(policy.logits.detach(), -1)


@pytest.mark.parametrize("own", [0, 1])
def test_its_optimum_is_that_of_rl_on_the_weighted_sum_whichever_objective_was_compared(own: int) -> None:
    start, rewards, w = drawn(0), (drawn(1), 2 * drawn(2)), (0.3, 0.7)
    policy = Table(start)
    algorithm = MODPO(policy, rewarding(rewards[1 - own]), beta=BETA, own=w[own], weight="p")
    wanted = log_softmax(start + (w[0] * rewards[0] + w[1] * rewards[1]) / BETA, -1)
    assert torch.allclose(optimum(algorithm, policy, compared(rewards[own])), wanted, atol=1e-3)


def test_with_the_implicit_reward_of_another_objectives_dpo_it_is_a_geometric_mixture() -> None:
    start, rewards = drawn(3), (drawn(4), drawn(5))
    other, policy = Table(start), Table(start)
    there = optimum(DPO(other, beta=BETA, weight="p"), other, compared(rewards[1]))
    margin = ImplicitReward(other, Table(start), beta=BETA)
    found = optimum(MODPO(policy, margin, beta=BETA, own=0.6, weight="p"), policy, compared(rewards[0]))
    base = log_softmax(start, -1)
    alone = log_softmax(start + rewards[0] / BETA, -1)
    assert torch.allclose(found, log_softmax(base + 0.6 * (alone - base) + 0.4 * (there - base), -1), atol=1e-3)


PAIRS = [Comparison(prompt=f"what is {i} plus 3 ?", chosen="the answer is 5 .", rejected=f"it is {i} .", columns={"by": 0.3 * i})
         for i in range(3)]  # fmt: skip


def gradient(algorithm: DPO | MODPO) -> tuple[Tensor, Tensor]:
    loss = algorithm(algorithm.experience(Rows(PAIRS), Step(0, 0))).sum
    algorithm.policy.zero_grad()
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in algorithm.policy.parameters() if p.grad is not None])


def by_length(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    return [0.2 * len(c) for c in completions]


def test_all_weight_on_its_own_objective_is_dpo_to_the_bit() -> None:
    reference = tiny_policy(seed=1).freeze("now")
    ours, dpo = (made(tiny_policy(), reference=reference, margin="by") for made in (  # type: ignore[operator]
        lambda p, **o: MODPO(p, by_length, own=1.0, **o), lambda p, **o: DPO(p, **o)))  # fmt: skip
    for a, b in zip(gradient(ours), gradient(dpo), strict=True):
        assert torch.equal(a, b)


def test_it_is_dpo_of_strength_beta_over_own_with_the_others_lead_as_margin() -> None:
    reference = tiny_policy(seed=1).freeze("now")
    leads = [0.3 * i + 0.25 / 0.75 * 0.2 * (len(p.chosen) - len(str(p.rejected))) for i, p in enumerate(PAIRS)]
    ours = gradient(MODPO(tiny_policy(), by_length, own=0.75, margin="by", reference=reference))
    rows = [p.model_copy(update={"columns": {"by": lead}}) for p, lead in zip(PAIRS, leads, strict=True)]
    algorithm = DPO(tiny_policy(), beta=0.1 / 0.75, margin="by", reference=reference)
    plain = algorithm(algorithm.experience(Rows(rows), Step(0, 0))).sum
    assert torch.allclose(ours[0], plain, rtol=1e-5)
    swapped = gradient(MODPO(tiny_policy(), lambda **c: [-v for v in by_length(**c)], own=0.75, reference=reference))
    assert ours[0] > swapped[0], "where the others prefer the chosen one too, more is asked of the pair"


def test_what_a_prompt_is_worth_changes_nothing_and_scaling_all_weights_is_scaling_beta() -> None:
    reference = tiny_policy(seed=1).freeze("now")

    def more(*, prompts: Sequence[str], **said: Any) -> list[float]:
        return [v + 10 * len(p) for v, p in zip(by_length(prompts=prompts, **said), prompts, strict=True)]

    plain = gradient(MODPO(tiny_policy(), by_length, own=0.5, reference=reference))
    for other in (MODPO(tiny_policy(), more, own=0.5, reference=reference),
                  MODPO(tiny_policy(), by_length, beta=0.05, own=0.25, others=0.25, reference=reference)):  # fmt: skip
        assert torch.allclose(gradient(other)[1], plain[1], atol=1e-5)


def test_no_gradient_reaches_the_margin_and_a_reward_that_does_not_apply_moves_nothing() -> None:
    weight = torch.tensor(1.0, requires_grad=True)

    def learned(*, completions: Sequence[str], **columns: Any) -> Tensor:
        return weight * torch.tensor([float(len(c)) for c in completions])

    gradient(MODPO(tiny_policy(), combine({"a": learned, "b": by_length}, weights={"a": 0.2})))
    assert weight.grad is None
    reference = tiny_policy(seed=1).freeze("now")
    half = MODPO(tiny_policy(), lambda *, completions, **c: [None, 5.0] * (len(completions) // 2), reference=reference)
    assert torch.equal(gradient(half)[1], gradient(DPO(tiny_policy(), beta=0.2, reference=reference))[1])
    with pytest.raises(ConfigError, match=r"own objective in \(0, 1\]"):
        MODPO(tiny_policy(), by_length, own=0.0)


def test_an_implicit_reward_is_beta_times_the_log_ratio_whole_and_by_step_and_stays_when_the_policy_goes_on() -> None:
    policy, base = tiny_policy(), tiny_policy(seed=1)
    implied = ImplicitReward(policy, base, beta=0.3)
    prompts, texts = ["what is 3 plus 3 ?"] * 2 + ["tell me"], ["it is 4 .", "the answer is 5 .", "i admire you ."]
    groups = [Group(prompts[0], tuple(texts[:2])), Group("tell me", (texts[2],))]
    with torch.no_grad():
        wanted = 0.3 * (policy.likelihood(groups).policy - base.likelihood(groups).policy)
        said: Scores = score(implied, prompts=prompts, completions=texts, group=[0, 0, 1])
        assert torch.allclose(said.values, wanted, atol=1e-6)
        assert said.steps is not None
        assert torch.allclose(said.steps.sum(-1), wanted, atol=1e-5)
        for p in policy.parameters():
            p.add_(0.1)
        assert torch.equal(score(implied, prompts=prompts, completions=texts, group=[0, 0, 1]).values, said.values)
