"""T-REG: where it is DPO, how it weighs tokens, and what the model's own opinion of them is."""

from typing import Any

import pytest
import torch
from torch import Tensor

from accord import losses
from accord.algorithms import DPO, TREG
from accord.engine import Rows, Step
from accord.errors import ConfigError
from accord.feedback import Comparison
from accord.losses import LogProbs
from accord.rewards import ContrastivePrompt, Scores, score
from conftest import tiny_policy

PAIRS = [Comparison(prompt=f"what is {i} plus 3 ?", chosen=("it is 4 ." if i else "the answer is 5 . thank you for asking ."),
                    rejected=f"i admire you . it is {i} .") for i in range(3)]  # fmt: skip
BETTER, WORSE = "thank you . {prompt}", "that is brilliant . {prompt}"


def sides(n: int = 4, t: int = 5) -> tuple[LogProbs, LogProbs, Tensor, Tensor]:
    """Random log-probs of n pairs with graph, rewards of their tokens, and what is to have a gradient."""
    g = torch.Generator().manual_seed(0)
    length = torch.randint(1, t + 1, (2, n), generator=g)
    within = torch.arange(t) < length[..., None]
    steps = (-torch.rand(2, n, t, generator=g) * within).requires_grad_()
    made = [
        LogProbs(x.sum(-1), m.float(), -torch.rand(n, generator=g) * m, x) for x, m in zip(steps, length, strict=True)
    ]
    return made[0], made[1], ((torch.rand(n, 2, t, generator=g) - 0.5) * within.transpose(0, 1)), steps


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5])
def test_the_gradient_of_a_token_is_dpos_times_one_plus_alpha_of_its_reward(alpha: float) -> None:
    c, r, rewards, steps = sides()
    plain = torch.autograd.grad(losses.dpo(c, r, 0.3).sum(), steps, retain_graph=True)[0]
    found = torch.autograd.grad(losses.t_reg(c, r, 0.3, alpha, rewards=rewards).sum(), steps)[0]
    sign = torch.tensor([1.0, -1.0])[:, None, None]
    assert torch.allclose(found, plain * (1 + sign * alpha * rewards.transpose(0, 1)), atol=1e-6)


def test_without_weight_or_rewards_it_is_dpo() -> None:
    c, r, rewards, _ = sides()
    assert torch.equal(losses.t_reg(c, r, 0.3, 0.0, rewards=rewards), losses.dpo(c, r, 0.3))
    assert torch.equal(losses.t_reg(c, r, 0.3, 0.5), losses.dpo(c, r, 0.3))
    flipped = losses.t_reg(c, r, 0.3, 0.5, rewards=rewards, target=0.0)
    assert torch.allclose(flipped, losses.t_reg(r, c, 0.3, 0.5, rewards=rewards.flip(1))), "a flipped pair"


def contrast(policy: Any, better: str = BETTER, worse: str = WORSE) -> Scores:
    said = [c for p in PAIRS for c in (p.chosen, p.rejected)]
    return score(
        ContrastivePrompt(policy, better, worse), prompts=[p.prompt for p in PAIRS for _ in "cr"], completions=said
    )


def test_a_models_opinion_turns_round_with_the_two_requests_and_is_none_where_they_are_the_same() -> None:
    policy = tiny_policy()
    there, back, same = contrast(policy), contrast(policy, WORSE, BETTER), contrast(policy, BETTER, BETTER)
    assert there.steps is not None
    assert back.steps is not None
    assert torch.allclose(there.steps, -back.steps, atol=1e-6)
    assert 0.05 < float(there.steps.abs().max()) < 0.5
    assert not same.values.any()
    lengths = torch.tensor([len(c.split()) + 1 for p in PAIRS for c in (p.chosen, p.rejected)])
    assert torch.equal((there.steps != 0).sum(-1), lengths), "every token of the answer with its end, and no other"
    assert torch.allclose(there.values, there.steps.sum(-1) / lengths)


def test_it_trains_on_its_own_tokens_whichever_rows_share_a_batch() -> None:
    reference = tiny_policy(seed=1).freeze("now")
    algorithm = TREG(tiny_policy(), alpha=1.0, better=BETTER, worse=WORSE, reference=reference)
    given = algorithm.experience(Rows(PAIRS), Step(0, 0))
    whole = algorithm(given).sum
    parts = [algorithm(given.select([i])).sum for i in range(3)]
    assert torch.allclose(whole, torch.stack(parts).sum(), atol=1e-4)
    chosen, rejected = algorithm.pair(given)
    opinion = contrast(reference).steps
    assert opinion is not None
    wanted = losses.t_reg(chosen, rejected, 0.1, 1.0, rewards=opinion.reshape(3, 2, -1)).sum()
    assert torch.allclose(whole, wanted, atol=1e-5)
    dpo = DPO(algorithm.policy, reference=reference)
    assert (whole - dpo(dpo.experience(Rows(PAIRS), Step(0, 0))).sum).abs() > 1e-3


def test_a_bad_word_of_a_good_answer_loses_by_it() -> None:
    """Two answers alike but for one word each: the true sign of every word makes the bad one fall behind the others."""
    rows = [
        Comparison(
            prompt="what is 2 plus 3 ?", chosen="it is 5 . i admire you .", rejected="it is 4 . thank you for asking ."
        )
    ]

    def truth(*, prompts: Any, completions: list[str], **columns: Any) -> Scores:
        steps = torch.zeros(len(completions), 10)
        for i, c in enumerate(completions):
            for t, word in enumerate(c.split()):
                steps[i, t] = -0.5 if word in ("4", "admire") else 0.5
        return Scores.of(steps.mean(-1), steps=steps)

    def shift(algorithm: DPO | TREG) -> Tensor:
        given = algorithm.experience(Rows(rows), Step(0, 0))
        before = algorithm.pair(given)[0].per_step
        optimiser = torch.optim.SGD(algorithm.policy.parameters(), lr=1e-4)
        for _ in range(5):
            optimiser.zero_grad()
            algorithm(given).sum.backward()
            optimiser.step()
        after = algorithm.pair(given)[0].per_step
        assert before is not None
        assert after is not None
        moved = (after - before).detach()[0]
        return moved[5] - moved[[0, 1, 2, 3]].mean()  # "admire" beside the answer itself

    assert shift(TREG(tiny_policy(), truth, beta=1.0, alpha=2.0)) < shift(DPO(tiny_policy(), beta=1.0))


def test_what_cannot_be_weighed_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match="gives no values of steps"):
        TREG(tiny_policy(), lambda *, completions, **c: [0.0] * len(completions)).experience(Rows(PAIRS), Step(0, 0))
    c, r, rewards, _ = sides()
    with pytest.raises(ConfigError, match="rewards of 3 tokens can't weigh an answer of 5"):
        losses.t_reg(c, r, rewards=rewards[..., :3])
    with pytest.raises(ConfigError, match="'better' lacks"):
        ContrastivePrompt(tiny_policy(), "be good", WORSE)
    with pytest.raises(ConfigError, match="alpha must be at least 0"):
        TREG(tiny_policy(), alpha=-1.0)
