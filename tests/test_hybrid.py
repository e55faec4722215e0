"""HARMO: routing, the shortfall's promises, and advantages without a spread."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms.rollout.grpo import GroupRelative
from accord.errors import RewardError
from accord.rewards import Hybrid, combine, exact_answer, routed, score, shortfall
from test_algorithms import fake

answers = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 40)), min_size=1, max_size=12)


def columns(rows: list[tuple[int, bool, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.tensor([r[1] for r in rows]),
        torch.tensor([float(r[2]) for r in rows]),
        torch.tensor([r[0] for r in rows]),
    )


@given(answers, st.floats(0, 0.99), st.booleans())
def test_a_shortfall_never_touches_a_good_answer_and_never_ranks_a_wrong_one_above_it(rows, most, both) -> None:  # type: ignore[no-untyped-def]
    good, length, group = columns(rows)
    paid = shortfall(good, length, group, most, both_sides=both)
    assert not paid[good].any()
    assert bool(((paid <= 0) & (paid >= -most - 1e-6)).all())
    for g in group.unique():
        some = good[group == g]
        if not some.any() or some.all():
            assert not paid[group == g].any(), "nobody is good, or everybody"
    assert torch.equal(shortfall(good, 2 * length, group, most, both_sides=both), paid), "whatever length is counted in"
    order = torch.randperm(len(rows))
    assert torch.equal(shortfall(good[order], length[order], group[order], most, both_sides=both), paid[order])
    longer = shortfall(good, torch.where(good, length, length + 1), group, most)
    assert bool((longer >= shortfall(good, length, group, most) - 1e-7).all()), "a longer wrong answer never pays more"


def test_the_shortfall_is_in_proportion_to_what_is_missing() -> None:
    good, length = torch.tensor([True, True, False, False, False]), torch.tensor([8.0, 12.0, 5.0, 10.0, 30.0])
    group = torch.zeros(5, dtype=torch.long)
    assert torch.allclose(shortfall(good, length, group, 0.5), torch.tensor([0.0, 0.0, -0.25, 0.0, 0.0]))
    assert torch.allclose(
        shortfall(good, length, group, 0.5, both_sides=True), torch.tensor([0.0, 0.0, -0.25, 0.0, -0.5])
    )


def test_each_kind_of_prompt_is_judged_by_its_own_reward_and_by_no_other() -> None:
    asked: list[str] = []

    def model(*, prompts, completions, group, **columns):  # type: ignore[no-untyped-def]
        asked.extend(prompts)
        return [0.1 * len(c) for c in completions]

    reward = routed("kind", {"sum": exact_answer("answer"), "essay": model})
    said = score(reward, prompts=["a", "b", "c", "d"], completions=["5", "xx", "6", "yyy"], kind=["sum", "essay", "sum", "essay"],
                 answer=["5", None, "5", None], group=[0, 1, 2, 3])  # fmt: skip
    assert asked == ["b", "d"]
    assert torch.allclose(said.values, torch.tensor([1.0, 0.2, 0.0, 0.3]))
    with pytest.raises(RewardError, match="no reward for kind='poem'"):
        score(reward, prompts=["a"], completions=["b"], kind=["poem"])
    with pytest.raises(RewardError, match="goes by the column 'kind', but the data have only"):
        score(reward, prompts=["a"], completions=["b"])


def test_all_verifiable_and_nothing_beside_it_is_the_rule_alone() -> None:
    plain, given_ = (
        exact_answer("answer"),
        {"prompts": ["?"] * 4, "completions": ["5", "5 6", "no", "5"], "answer": ["5"] * 4, "group": [0] * 4},
    )
    assert torch.equal(score(Hybrid(plain, most=0.0), **given_).values, score(plain, **given_).values)  # type: ignore[arg-type]
    whole = score(Hybrid(plain, lambda *, completions, **c: [float(" " in x) for x in completions]), **given_)  # type: ignore[arg-type]
    assert torch.allclose(whole.values, torch.tensor([1.0, 0.5, 0.0, 1.0]))
    assert set(whole.aspects) == {"accuracy", "shortfall", "format"}


@pytest.mark.parametrize("right", [1, 3, 6])
def test_without_the_groups_spread_a_prompt_weighs_by_how_uncertain_it_is(right: int) -> None:
    rollouts, p = fake([0] * 8, [2] * 8), right / 8
    scores = score(
        lambda *, prompts, **c: [1.0] * right + [0.0] * (8 - right), prompts=["?"] * 8, completions=["a"] * 8
    )
    plain, scaled = (GroupRelative(scale=s)(scores, rollouts)[0].advantage[:, 0] for s in (False, True))
    assert float(plain.abs().mean()) == pytest.approx(2 * p * (1 - p), abs=1e-6)
    assert float(scaled.abs().mean()) == pytest.approx(2 * (p * (1 - p)) ** 0.5 * (7 / 8) ** 0.5, abs=1e-3)
    assert abs(float(plain.sum())) < 1e-6


class Counts:
    """A reward that remembers how often it was asked."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, *, completions, **columns):  # type: ignore[no-untyped-def]
        self.n += 1
        return [0.5] * len(completions)

    def state(self) -> dict[str, torch.Tensor]:
        return {"n": torch.tensor(self.n)}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.n = int(state["n"])


@pytest.mark.parametrize("made", [lambda r: combine({"a": r, "b": exact_answer()}), lambda r: routed("kind", {"x": r}), Hybrid],
                         ids=["sum", "routed", "hybrid"])  # fmt: skip
def test_what_a_part_remembers_is_kept_with_the_whole(made) -> None:  # type: ignore[no-untyped-def]
    part, again = Counts(), Counts()
    reward = made(part)
    for _ in range(3):
        score(reward, prompts=["?"], completions=["a"], kind=["x"], answer=["a"])
    made(again).load_state(reward.state())
    assert again.n == part.n == 3
