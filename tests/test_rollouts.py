"""Rollouts: options that mean nothing are refused, groups without signal are counted, columns are whole, first weights come from seeds."""

from functools import partial
from typing import Any

import pytest
import torch

from accord import algorithms as a
from accord.algorithms import (
    BestOfGroup,
    GroupRelative,
    LeaveOneOut,
    PerPrompt,
    RewardDifference,
    StepPreference,
    TokenGAE,
)
from accord.engine import Rows, Step, fit
from accord.errors import ConfigError, FeedbackError
from accord.evaluation import Probe
from accord.feedback import Task
from accord.policies import Sampling
from accord.policies.diffusion import Denoising
from accord.rewards import Scores
from accord.search import best_of_n
from accord.worlds import portraits
from conftest import tiny_policy
from tiny_pipelines import brightness, policy

SHORT, SDE = Sampling(max_new_tokens=4), Denoising(steps=2, guidance=1.0, eta=1.0)


def length(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


@pytest.mark.parametrize("make", [a.GRPO, a.RLOO, a.PRDP, a.D3PO])
def test_methods_that_compare_a_prompts_answers_want_two(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"group_size must be at least 2 .* compares"):
        make(policy(lora=2), brightness, group_size=1, sampling=SDE)


@pytest.mark.parametrize("make", [a.PPO, a.RAFT, a.DDPO])
def test_methods_that_do_not_compare_them_learn_from_one(make: Any) -> None:
    where = {"sampling": SDE} if make is a.DDPO else {"sampling": SHORT}
    algorithm = make(
        policy(lora=2) if make is a.DDPO else tiny_policy(),
        brightness if make is a.DDPO else length,
        group_size=1,
        **where,
    )
    row = fit(algorithm, ["a cat", "a hat"], steps=1, batch_size=2, progress=False).metrics[0]
    assert "no_signal" not in row
    with pytest.raises(ConfigError, match="at least 1"):
        make(algorithm.policy, length, group_size=0, **where)


@pytest.mark.parametrize(("credit", "options"), [
    (GroupRelative, [{"normalise": "toknes"}, {"estimator": "k4"}, {"kl": -0.1}, {"clip": 0}, {"clip": -1.0}, {"clip_high": 0.0}, {"kl": float("nan")}]),
    (LeaveOneOut, [{"kl": -1.0}, {"clip": 0.0}]), (BestOfGroup, [{"select": "promt"}, {"kl": -0.1}]),
    (TokenGAE, [{"gamma": 1.1}, {"gamma": -0.1}, {"lam": 2.0}, {"kl": -1.0}, {"clip": 0.0}, {"value_clip": 0.0}, {"value_weight": -1.0}]),
    (PerPrompt, [{"buffer": 0}, {"buffer": 4, "min_count": 5}, {"min_count": 0}, {"clip": 0.0}, {"most": 0.0}]),
    (RewardDifference, [{"beta": 0.0}, {"clip": 0.0}, {"reduce": "sums"}]), (StepPreference, [{"beta": -1.0}, {"clip": 1.0}, {"clip": 0.0}]),
])  # fmt: skip
def test_an_option_that_means_nothing_is_refused_when_it_is_given(credit: Any, options: list[dict[str, Any]]) -> None:
    credit()
    for wrong in options:
        with pytest.raises(ConfigError) as caught:
            credit(**wrong)
        assert "\n" not in str(caught.value)
        assert str(next(iter(wrong.values()))) in str(caught.value)


def test_so_are_those_of_the_trainers() -> None:
    p = policy(lora=2)
    grpo, backprop = (
        partial(a.GRPO, p, brightness, sampling=SDE),
        partial(a.RewardBackprop, p, brightness, sampling=SDE),
    )
    for make, wrong in ((grpo, {"unfinished": "drp"}), (grpo, {"score_batch_size": 0}), (grpo, {"normalise": "toknes"}), (backprop, {"truncation": "randm"}),
                        (partial(a.AlignProp, p, brightness), {"truncation": "ful"}), (partial(a.RewardPreference, p), {"beta": 0.0})):  # fmt: skip
        with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
            make(**wrong)


def test_a_constant_length_for_pictures_is_their_number_of_steps() -> None:
    """Pictures are all of one length, so both ways to normalise are the same."""
    steps = []
    for normalise in ("sequence", "budget"):
        algorithm = a.GRPO(
            policy("sd", lora=2), brightness, group_size=2, normalise=normalise, sampling=Denoising(3, 1.0, 1.0)
        )  # type: ignore[arg-type]
        experience = algorithm.experience(Rows(["a cat"]), Step(0, 0))
        assert experience.rollouts.mask.all()
        steps.append(experience.terms[0].weight)
    assert torch.allclose(*steps)


def test_the_share_of_groups_that_teach_nothing_is_measured() -> None:
    """Of four prompts: answers that differ; that are all the same; that differ where only one counts; none that counts."""

    def reward(*, prompts: Any, completions: Any, group: Any, **columns: Any) -> Scores:
        place = torch.arange(len(group)) % 3
        values, valid = torch.zeros(len(group)), torch.ones(len(group), dtype=torch.bool)
        for i, prompt in enumerate(prompts):
            kind = int(prompt[-1])
            values[i] = {0: place[i], 1: 0.1, 2: place[i], 3: place[i]}[kind]
            valid[i] = kind < 2 or (kind == 2 and place[i] == 0)
        return Scores(values, valid)

    prompts = [f"prompt {i}" for i in range(4)]
    for make, kwargs in ((a.GRPO, {}), (a.RLOO, {"kl": 0.0})):
        algorithm = make(tiny_policy(), reward, group_size=3, sampling=SHORT, **kwargs)
        row = fit(algorithm, prompts, steps=1, batch_size=4, progress=False).metrics[0]
        assert row["no_signal"] == pytest.approx(3 / 4)
    pairs = fit(
        a.D3PO(policy(lora=2), reward, group_size=3, sampling=SDE), prompts, steps=1, batch_size=4, progress=False
    ).metrics[0]
    assert pairs["no_signal"] == pytest.approx(3 / 4)


TASKS = [
    Task(prompt="a cat", columns={"wish": "red"}),
    Task(prompt="a hat", columns={}),
    Task(prompt="a cat hat", columns={"wish": "blue", "size": 2}),
]


def wishes_of(call: Any) -> list[Any]:
    """The column `wish` as a reward sees it."""
    seen: list[Any] = []

    def reward(*, prompts: Any, completions: Any, wish: Any, size: Any, **columns: Any) -> Any:
        by_prompt = dict(zip(prompts, zip(wish, size, strict=True), strict=True))
        seen.append(sorted(by_prompt.items()))
        return completions.mean((1, 2, 3))

    call(reward)
    return seen[0]


def test_a_column_that_one_row_lacks_is_none_there_wherever_rewards_are_called() -> None:
    p = policy(lora=2)
    wanted = [("a cat", ("red", None)), ("a cat hat", ("blue", 2)), ("a hat", (None, None))]
    for call in (
        lambda r: a.GRPO(p, r, group_size=2, sampling=SDE).experience(Rows(TASKS), Step(0, 0)),
        lambda r: (b := a.DRaFT(p, r, sampling=SDE))(b.experience(Rows(TASKS), Step(0, 0))),
        lambda r: best_of_n(p, r, TASKS, 2, SDE),
        lambda r: best_of_n(p, r, TASKS[::-1], 2, SDE),
        lambda r: Probe(p, TASKS, {"r": r}, SDE)(0),
    ):
        assert wishes_of(call) == wanted
    taken = [Task(prompt="a cat", columns={"group": 1})]
    with pytest.raises(FeedbackError, match="no column can be called 'group'"):
        a.GRPO(p, brightness, group_size=2, sampling=SDE).experience(Rows(taken), Step(0, 0))


def test_rows_say_what_an_algorithm_learns_from() -> None:
    """The engine refuses others at its door."""
    with pytest.raises(FeedbackError):
        fit(a.RewardPreference(policy(lora=2)), ["a cat"], steps=1, batch_size=1, progress=False)
    pair = a.SubjectPair.__new__(a.SubjectPair)
    with pytest.raises(FeedbackError):
        fit(
            a.GRPO(policy(lora=2), brightness, group_size=2, sampling=SDE),
            [pair],
            steps=1,
            batch_size=1,
            progress=False,
        )


# Randomness


def first_weights(p: Any) -> torch.Tensor:
    return torch.cat([w.detach().flatten() for w in p.parameters() if w.requires_grad])


def test_first_weights_come_from_the_seed_whatever_ran_before() -> None:
    made = []
    for before, seed in ((1, 0), (2, 0), (2, 7)):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        lora, adapter = policy("sd"), policy("sd")
        torch.set_rng_state(state)
        lora.add_lora(2, seed=seed)
        adapter.add_image_adapter(lambda x: x, 3, tokens=2, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)  # nor do they disturb what comes after
        made.append((first_weights(lora), first_weights(adapter)))
    for one, two, three in zip(*made, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
    two_names = policy("sd")
    two_names.add_lora(2)
    one = first_weights(two_names)
    other = policy("sd")
    other.add_lora(2, "other")
    assert not torch.equal(one, first_weights(other))


def test_a_run_on_portraits_is_the_same_after_other_work() -> None:
    runs = []
    for before in (1, 2):
        torch.randn(before)
        algorithm = a.GRPO(portraits.policy(lora=2), brightness, group_size=2, sampling=SDE)
        runs.append(fit(algorithm, portraits.prompts(2, 1), steps=1, batch_size=1, progress=False))
        runs[-1].weights = first_weights(algorithm.policy)  # type: ignore[attr-defined]
    drop = lambda row: {k: v for k, v in row.items() if k != "seconds"}  # noqa: E731
    assert drop(runs[0].metrics[0]) == drop(runs[1].metrics[0])
    assert torch.equal(runs[0].weights, runs[1].weights)  # type: ignore[attr-defined]
    assert not torch.equal(first_weights(portraits.policy(lora=2)), first_weights(portraits.policy(lora=2, seed=1)))
