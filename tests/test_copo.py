"""COPO: where it is GRPO, what agreeing groups learn, and that a prompt's own reward has the gradient it should have."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from accord import losses
from accord.algorithms import COPO, GRPO
from accord.algorithms.rollout.copo import Blend, ConsistencyAware, answer_entropy
from accord.algorithms.rollout.grpo import GroupRelative
from accord.engine import Rows, Step
from accord.errors import ConfigError
from accord.policies import Rollouts, Sampling
from accord.rewards import Scores
from accord.worlds import letters
from conftest import tiny_policy
from test_algorithms import fake

GROUP = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
ANSWERS = ["5", "5", "5", "5", "1", "2", "3", None, "7", "7", "8", "8"]
RIGHT = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]


def said(right: list[float] = RIGHT, answers: list[str | None] = ANSWERS) -> Scores:
    return Scores.of(torch.tensor(right), answer=answers)


def drawn() -> Rollouts:
    return fake(GROUP, [3, 5, 2, 4, 1, 5, 5, 2, 3, 3, 4, 1])


def advantage(credit: ConsistencyAware, scores: Scores) -> tuple[Tensor, Tensor, Tensor]:
    """Of each answer, among its group and of its prompt, and the weight of the first."""
    rollouts = drawn()
    local, overall = credit(scores, rollouts)
    whole = local.weight + overall.weight
    assert torch.allclose(whole.sum(-1), torch.ones(len(rollouts))), "each answer is a mean over its own tokens"
    return local.advantage[:, 0], overall.advantage[:, 0], local.weight.sum(-1)


def test_entropy_is_that_of_the_different_answers_in_bits_whatever_they_are_called() -> None:
    entropy = answer_entropy(said(), drawn().group)
    assert torch.allclose(entropy, torch.tensor([0.0] * 4 + [2.0] * 4 + [1.0] * 4)), "what can't be read is one answer"
    other = answer_entropy(said(answers=["x", "x", "x", "x", "d", "c", None, "b", "u", "v", "v", "u"]), drawn().group)
    assert torch.allclose(entropy, other)
    with pytest.raises(ConfigError, match="its reward names none"):
        answer_entropy(Scores.of(torch.zeros(12)), drawn().group)


def test_with_all_weight_on_the_group_it_is_grpo() -> None:
    rollouts = drawn()
    ours = ConsistencyAware("local", dual_clip=1e9)(said(), rollouts)
    grpo = GroupRelative()(said(), rollouts)[0]
    new = rollouts.logprobs + 0.3 * torch.randn(rollouts.logprobs.shape, generator=torch.Generator().manual_seed(1))
    total = sum((t.surrogate(new, rollouts, t.advantage) * t.weight).sum() for t in ours)
    assert torch.allclose(
        torch.as_tensor(total), (grpo.surrogate(new, rollouts, grpo.advantage) * grpo.weight).sum(), atol=1e-3
    )


def test_groups_that_agree_learn_from_how_their_prompt_fares_among_the_others() -> None:
    among, overall, local = advantage(ConsistencyAware(), said())
    assert not among[:8].any(), "neither all right nor all wrong says anything within the group"
    assert torch.allclose(overall[[0, 4, 8]], torch.tensor([1.0, -1.0, 0.0]), atol=1e-4), (
        "means 1, 0 and 1/2, standardised"
    )
    assert (overall[:4] == overall[0]).all()
    wanted = torch.sigmoid(5.0 * (torch.tensor([0.0, 2.0, 1.0]) - 1.0)).repeat_interleave(4) * torch.tensor(RIGHT)
    assert torch.allclose(local, wanted)


@pytest.mark.parametrize(("blend", "wanted"), [
    ("soft", [0.0067, 0.9933, 0.5, 0.5]), ("soft-forced", [0.0, 0.0, 0.5, 0.5]), ("forced", [0.0, 0.0, 1.0, 1.0]),
    ("zero", [1.0, 0.0, 1.0, 0.0]), ("global", [0.0, 0.0, 0.0, 0.0]), ("local", [1.0, 1.0, 1.0, 1.0]),
])  # fmt: skip
def test_blends_by_their_tables(blend: Blend, wanted: list[float]) -> None:
    local = advantage(ConsistencyAware(blend), said())[2]
    assert torch.allclose(local[[0, 4, 8, 11]], torch.tensor(wanted), atol=1e-4), (
        "all right, all wrong, and a right and a wrong of both"
    )


def test_a_damped_prompt_is_worth_between_one_and_a_gth() -> None:
    unlike = said([1.0] * 12, ["5"] * 4 + ["1", "2", "3", "4"] + ["7", "7", "8", "8"])
    overall = advantage(ConsistencyAware("global", damped=True), unlike)[1][[0, 4, 8]]
    worth = torch.tensor([1.0, 0.25, 1 - (1 - 1 / 4) / 2])
    assert torch.allclose(overall, (worth - worth.mean()) / worth.std(), atol=1e-4)


def test_where_nothing_can_be_compared_nothing_is_learned_and_nothing_is_nan() -> None:
    for right in (said([1.0] * 12), replace(said(), valid=torch.zeros(12, dtype=torch.bool))):
        for term in ConsistencyAware()(right, drawn()):
            assert torch.isfinite(term.advantage).all()
            assert not (term.advantage * term.weight).any()
    alone = fake([0, 0], [2, 3])
    terms = ConsistencyAware("global")(Scores.of(torch.tensor([1.0, 0.0]), answer=["1", "2"]), alone)
    assert not terms[1].advantage.any(), "one prompt has no others"


def test_the_dual_clip_bounds_what_one_bad_answer_weighs() -> None:
    old, a = torch.zeros(1, 4), torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    new = torch.tensor([[0.5, 3.0, 0.5, 3.0]]).log()
    assert torch.allclose(losses.clipped_surrogate(new, old, a, dual=2.0), torch.tensor([[0.8, 2.0, -0.5, -1.2]]))
    assert torch.allclose(losses.clipped_surrogate(new, old, a), torch.tensor([[0.8, 3.0, -0.5, -1.2]]))


def test_a_prompts_mean_reward_times_all_scores_has_the_gradient_of_its_expectation() -> None:
    """Two answers of three in a group, by enumeration: E[R sum_i grad log pi(o_i)] = grad E[R]; and it varies more than the local one."""
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    logp = logits.log_softmax(-1)
    wanted = torch.autograd.grad((logp.exp() * reward).sum(), logits, retain_graph=True)[0]
    pairs = [(i, j, float((logp[i] + logp[j]).exp().detach())) for i in range(3) for j in range(3)]
    grads = [torch.autograd.grad(logp[i], logits, retain_graph=True)[0] for i in range(3)]
    whole = [(reward[i] + reward[j]) / 2 * (grads[i] + grads[j]) for i, j, _ in pairs]
    own = [(reward[i] * grads[i] + reward[j] * grads[j]) / 2 for i, j, _ in pairs]
    means = [torch.stack([p * g for (_, _, p), g in zip(pairs, gs, strict=True)]).sum(0) for gs in (whole, own)]
    assert torch.allclose(means[0], wanted)
    assert torch.allclose(means[1], wanted)
    spread = [
        sum(p * (g - wanted).square().sum() for (_, _, p), g in zip(pairs, gs, strict=True)) for gs in (whole, own)
    ]
    assert spread[0] > spread[1]


def test_a_step_of_it_pushes_an_agreeing_group_up_where_its_prompt_does_better() -> None:
    tasks = letters.tasks(2, seed=1)

    def known(*, prompts: list[str], **columns: object) -> Scores:
        return Scores.of(torch.tensor([float(p == tasks[0].prompt) for p in prompts]), answer=["same"] * len(prompts))

    algorithm = COPO(tiny_policy(), known, group_size=2, sampling=Sampling(max_new_tokens=6))
    given = algorithm.experience(Rows(tasks), Step(0, 0))
    algorithm(given).sum.backward()
    with torch.no_grad():
        for p in algorithm.policy.parameters():
            if p.grad is not None:
                p -= 1e-4 * p.grad
        moved = (algorithm.policy.logprobs(given.rollouts) - given.rollouts.logprobs).sum(-1)
    assert moved[:2].sum() > 0 > moved[2:].sum()
    grpo = GRPO(tiny_policy(), known, group_size=2, sampling=Sampling(max_new_tokens=6))
    assert not float(grpo(grpo.experience(Rows(tasks), Step(0, 0))).sum), "which GRPO learns nothing from"
