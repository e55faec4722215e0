"""Control policies: what they do in any environment, and what other methods make of them."""

import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

from accord.algorithms import GRPO
from accord.engine import fit
from accord.errors import ConfigError, ModelError
from accord.losses.returns import above_others, to_go
from accord.policies import Acting, ControlPolicy
from accord.rewards import by_step, own_reward, potential, score
from accord.worlds import room
from accord.worlds.room.places import COST, GOAL, SUCCESS, within
from tiny_envs import Arms, Push


def moved(policy: ControlPolicy) -> ControlPolicy:
    """With weights under which what it sees matters."""
    with torch.no_grad():
        policy.body.last.weight.copy_(
            torch.linspace(-1, 1, policy.body.last.weight.numel()).reshape(policy.body.last.weight.shape)
        )
    return policy


@pytest.mark.parametrize("env", ["CartPole-v1", Push, Arms, "FrozenLake-v1"], ids=str)
def test_what_was_done_is_as_likely_as_it_was_when_it_was_drawn(env: Any) -> None:
    policy = moved(ControlPolicy(env))
    drawn = policy.sample(["a", "b"], 3, Acting(12), seed=5)
    with torch.no_grad():
        torch.testing.assert_close(policy.logprobs(drawn), drawn.logprobs)
    assert not drawn.logprobs[~drawn.mask].any()
    assert (
        drawn.mask.sum(1).tolist()
        == [len(e.actions) for e in drawn.completions]
        == [len(e.observations) - 1 for e in drawn.completions]
    )
    assert drawn.finished.tolist() == [e.terminated for e in drawn.completions]


def test_the_same_text_is_the_same_start_and_a_rows_draws_are_its_own() -> None:
    policy = moved(ControlPolicy(Push))
    drawn = policy.sample(["a", "b"], 2, Acting(6), seed=1)
    a, again, b, _ = drawn.completions
    assert a.observations[0] == again.observations[0] != b.observations[0]
    assert not torch.equal(a.observations, again.observations)
    (alone,) = policy.sample(["a"], 1, Acting(6), seed=1).completions
    torch.testing.assert_close(alone.observations, a.observations)
    torch.testing.assert_close(alone.actions, a.actions)
    assert not torch.equal(policy.sample(["a"], 1, Acting(6), seed=2).completions[0].actions, a.actions)


def test_draws_follow_the_distribution_and_greedy_takes_its_top() -> None:
    policy = ControlPolicy(lambda: Arms(first=3), hidden=())
    with torch.no_grad():
        policy.body.last.bias.copy_(torch.tensor([0.5, 0.1, 0.3, 0.1]).log())
    pulled = torch.cat([e.actions for e in policy.sample(["a"], 2000, Acting(1), seed=0).completions])
    shares = torch.bincount(pulled, minlength=4) / 2000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.1, 0.3, 0.1]), atol=0.04, rtol=0)
    assert policy.sample(["a"], 9, Acting(1, greedy=True)).actions.actions.tolist() == [[0]] * 9
    with pytest.raises(ConfigError, match="leave greedy out"):
        GRPO(policy, own_reward, sampling={"greedy": True})


def test_a_policy_gradient_of_the_core_learns_in_an_environment_that_a_user_brings() -> None:
    policy = ControlPolicy(lambda: Arms((0.0, 1.0, 0.0)), hidden=())
    fit(
        GRPO(policy, own_reward, group_size=16, sampling={"steps": 1}),
        ["a"],
        steps=30,
        batch_size=1,
        lr=0.1,
        progress=False,
    )
    assert policy.distribution(torch.ones(1)).probs[1] > 0.9  # type: ignore[attr-defined]


def test_a_frozen_twin_stays_and_a_saved_policy_comes_back(tmp_path: Path) -> None:
    policy = moved(room.policy())
    drawn = policy.sample(["a"], 2, seed=0)
    twin = policy.freeze()
    policy.save(tmp_path / "saved")
    then = policy.logprobs(drawn).detach()
    with torch.no_grad():
        policy.body.last.bias += torch.arange(4.0)
    assert not torch.allclose(policy.logprobs(drawn), then)
    assert torch.equal(twin.logprobs(drawn), then)
    assert torch.equal(ControlPolicy.load(tmp_path / "saved").logprobs(drawn), then)
    with pytest.raises(ConfigError, match="register it"):
        ControlPolicy(Arms).save(tmp_path / "other")


def test_what_it_cannot_act_in_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no environment 'Nowhere-v0'"):
        ControlPolicy("Nowhere-v0")

    class Several(Arms):
        def __init__(self) -> None:
            super().__init__()
            self.action_space: Any = gymnasium.spaces.MultiDiscrete([2, 2])

    with pytest.raises(ConfigError, match="takes MultiDiscrete"):
        ControlPolicy(Several)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    for make in (lambda: ControlPolicy("CartPole-v1"), room.policy):
        with pytest.raises(ModelError, match=r"pip install \"accord\[control\]\""):
            make()


# What comes after a step, and shaping


def test_what_is_to_come_is_the_sum_that_it_says_and_an_advantage_is_against_the_others() -> None:
    g = torch.Generator().manual_seed(0)
    rewards, mask = (
        torch.randn(3, 5, generator=g),
        torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool(),
    )
    found = to_go(rewards, mask, torch.tensor(0.9))
    for i in range(3):
        for t in range(5):
            should = sum(0.9 ** (j - t) * float(rewards[i, j]) for j in range(t, 5) if mask[i, j])
            assert float(found[i, t]) == pytest.approx(should, abs=1e-5)
    others = torch.stack([(found.sum(0) - found[i]) / 2 for i in range(3)])
    torch.testing.assert_close(above_others(found), found - others)
    assert torch.equal(above_others(found[:1]), found[:1])


def test_a_potential_is_a_baseline_and_nothing_more() -> None:
    drawn = room.policy().sample(["a"], 4, seed=3)
    said = score(potential(lambda places: places.sum(-1), 0.9), prompts=["a"] * 4, completions=drawn.completions)
    assert said.steps is not None
    gamma = torch.tensor(0.9)
    paid = score(own_reward, prompts=["a"] * 4, completions=drawn.completions).steps
    assert paid is not None
    gap = to_go(paid + said.steps, drawn.mask, gamma) - to_go(paid, drawn.mask, gamma)
    torch.testing.assert_close(gap, -drawn.actions.observations.sum(-1) * drawn.mask, atol=1e-4, rtol=1e-4)


# The room


def test_the_room_is_an_environment_as_gymnasium_wants_it() -> None:
    from gymnasium.utils.env_checker import check_env

    from accord.worlds.room.env import Room

    check_env(Room(), skip_render_check=True)


def test_its_gold_is_what_it_pays_and_hints_read_places_alone() -> None:
    policy = room.policy()
    with torch.no_grad():  # up and to the right
        policy.body.last.bias.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0]))
    drawn = policy.sample(["a"], 40, seed=0)
    said = room.gold(completions=drawn.completions)
    assert 0 < float(said.aspects["reached"].mean()) < 1
    torch.testing.assert_close(said.values, torch.stack([e.rewards.sum() for e in drawn.completions]) / SUCCESS)
    assert torch.equal(said.aspects["reached"].bool(), drawn.finished)
    nearer = by_step(lambda before, action, after: within(*after.T, GOAL).float())
    found = score(nearer, prompts=["a"] * 40, completions=drawn.completions)
    assert torch.equal(found.values, said.aspects["reached"])
    assert COST < SUCCESS / 500, "walking to the goal is worth its while"


def test_a_frozen_twin_is_a_copy_or_what_was_saved(tmp_path: Path) -> None:
    policy = ControlPolicy("CartPole-v1", device="cpu")
    policy.save(tmp_path / "saved")
    with torch.no_grad():
        policy.body.last.weight.add_(
            torch.randn(policy.body.last.weight.shape, generator=torch.Generator().manual_seed(1))
        )
    drawn = policy.sample(["a"], 2, {"steps": 5}, seed=1)
    now, then = (policy.freeze(w).logprobs(drawn) for w in ("now", str(tmp_path / "saved")))
    assert torch.equal(now, policy.logprobs(drawn))
    assert torch.allclose(then[drawn.mask], torch.tensor(0.5).log(), atol=1e-6), "it had learned nothing yet"


def test_an_episode_is_as_long_as_its_environment_says() -> None:
    policy = ControlPolicy("MountainCar-v0", device="cpu")
    assert int(policy.sample(["a"], 1, seed=0).length) == 200
    assert int(policy.sample(["a"], 1, {"steps": 7}, seed=0).length) == 7
    with pytest.raises(ConfigError, match="say the longest episode"):
        ControlPolicy(Push).sample(["a"], 1)
