"""DR-IRL: what makes a prompt hard, what that changes, and what a reward learned from demonstrations is at its end."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms import DifficultyScaled, irl_pairs
from accord.algorithms.rollout.grpo import GroupRelative
from accord.errors import ConfigError, RewardError
from accord.feedback import Example
from accord.policies import Rollouts, Sampling
from accord.rewards import BesideDemonstrations, Scores, score
from accord.worlds import letters
from test_algorithms import fake

KINDS = ["a", "a", "a", "a", "b", "b", "b", "b"]


def rollouts() -> Rollouts:
    return replace(fake([0, 0, 1, 1, 2, 2, 3, 3], [2, 3, 1, 2, 3, 2, 2, 1]), context={"category": KINDS})


def scores(far: list[float], gap: list[float]) -> Scores:
    values = torch.tensor([1.0, 0.0, 0.5, 2.0, 0.0, 3.0, 1.0, -1.0])
    return Scores.of(values, aspects={"distance": torch.tensor(far), "gap": torch.tensor(gap)})


def scaled(**options: Any) -> DifficultyScaled:
    return DifficultyScaled(GroupRelative(), **options)


def test_where_all_prompts_are_equally_hard_it_is_grpo() -> None:
    said, drawn = scores([0.4] * 8, [1.0] * 8), rollouts()
    for a, b in zip(scaled(outliers=0.0)(said, drawn), GroupRelative()(said, drawn), strict=True):
        assert torch.allclose(a.advantage, b.advantage, atol=1e-6)
        assert torch.equal(a.weight, b.weight)


@given(st.lists(st.floats(0, 2), min_size=8, max_size=8), st.lists(st.floats(-9, 9), min_size=8, max_size=8))
def test_it_changes_no_sign_and_no_order_within_a_group_and_stays_in_its_bounds(
    far: list[float], gap: list[float]
) -> None:
    said, drawn = scores(far, gap), rollouts()
    alpha = scaled().difficulty(said, drawn)
    assert bool(((alpha >= 0.5) & (alpha <= 2.0)).all())
    assert all(alpha[2 * i] == alpha[2 * i + 1] for i in range(4)), "it is a prompt's"
    ours, plain = (c(said, drawn)[0].advantage[:, 0] for c in (scaled(), GroupRelative()))
    assert torch.equal(ours.sign(), plain.sign())
    doubled = replace(said, aspects={**said.aspects, "gap": 3 * said.aspects["gap"]})
    assert torch.allclose(scaled().difficulty(doubled, drawn), alpha, atol=1e-3), "gaps have no unit"


def test_a_prompt_farther_from_its_demonstration_weighs_more_and_one_wild_gap_nothing() -> None:
    far = [0.0, 0.0, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4]
    alpha = scaled(outliers=0.0).difficulty(scores(far, [0.0] * 8), rollouts())
    assert alpha[0] < 1 < alpha[2]
    assert float(alpha[0]) == pytest.approx(0.5 / float(torch.sigmoid(torch.tensor(0.4))))
    gaps = [1.0, 1.0, 1.2, 1.2, 1.0, 1.0, 1e3, 1e3]
    wild = scaled(outliers=0.5).difficulty(scores([0.4] * 8, gaps), rollouts())
    assert torch.isfinite(wild).all()
    assert wild[4] < scaled(outliers=0.0).difficulty(scores([0.4] * 8, gaps), rollouts())[4] + 1e-6


def test_what_is_usual_is_remembered_and_saved() -> None:
    credit, drawn = scaled(), rollouts()
    credit(scores([0.8] * 8, [1.0] * 8), drawn)
    later = credit.difficulty(scores([0.2] * 8, [1.0] * 8), drawn)
    assert (later < 1).all(), "nearer than usual"
    again = scaled()
    again.load_state(credit.state())
    assert again.levels == credit.levels
    with pytest.raises(ConfigError, match="wants a reward with distance and gap"):
        credit(Scores.of(torch.zeros(8)), drawn)


def encode(texts: Any) -> torch.Tensor:
    words = sorted({w for t in texts for w in t.split()} | set("abcdefgh"))
    table = torch.tensor([[float(t.split().count(w)) for w in words if w in "abcdefgh"] for t in texts])
    return torch.nn.functional.normalize(table + 1e-9, dim=-1)


def test_distance_is_what_of_the_demonstration_is_not_said_and_gap_is_its_rewards_lead() -> None:
    def length(*, completions: Any, **columns: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    reward = BesideDemonstrations(length, encode)
    said = score(reward, prompts=["?"] * 4, completions=["a b. c d.", "c d. e. a b.", "a b.", "e f."], group=[0, 0, 1, 1],
                 demonstration=["a b. c d."] * 4)  # fmt: skip
    assert said.aspects["distance"].tolist() == pytest.approx([0, 0, 0.5, 1], abs=1e-5)
    assert said.aspects["gap"].tolist() == [0, 9 - 12, 9 - 4, 9 - 4]
    with pytest.raises(RewardError, match="reads demonstrations from the column 'demonstration'"):
        score(reward, prompts=["?"], completions=["a"])


def test_a_reward_from_demonstrations_has_nothing_more_to_learn_exactly_where_the_policy_answers_like_them() -> None:
    """On five answers, with pi the best response to r: the gradient of E_demo r - E_pi r is demo - pi."""
    reference = torch.tensor([0.2, 0.3, 0.1, 0.25, 0.15], dtype=torch.float64)
    shown = torch.tensor([0.5, 0.1, 0.1, 0.2, 0.1], dtype=torch.float64)
    r = (0.7 * (shown / reference).log()).requires_grad_()
    best = torch.softmax(reference.log() + r / 0.7, -1)
    gradient = torch.autograd.grad((shown * r).sum() - (best.detach() * r).sum(), r)[0]
    assert gradient.abs().max() < 1e-9
    other = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    away = torch.autograd.grad((shown * other).sum() - (reference * other).sum(), other)[0]
    assert torch.allclose(away, shown - reference)


def test_its_pairs_hold_demonstrations_against_the_policys_own_answers() -> None:
    policy = letters.policy()
    examples = [
        Example(prompt=t.prompt, completion="you are welcome .", columns={"category": "x"})
        for t in letters.tasks(4, seed=1)
    ]
    pairs = irl_pairs(policy, examples, Sampling(max_new_tokens=8), seed=1)
    assert [p.chosen for p in pairs] == ["you are welcome ."] * 4
    assert len({p.rejected for p in pairs}) > 1
