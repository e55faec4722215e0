"""Pairwise-RL: chances to beat an anchor know no offset of a prompt, a judge taught in both orders has no place that it likes."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms import PPO, Judging, PairwiseRL, with_anchors
from accord.engine import Rows, Step, fit
from accord.errors import FeedbackError, RewardError
from accord.feedback import Comparison, Task
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import Anchored, PairJudge, PolicyJudge, score
from accord.worlds import letters
from accord.worlds.letters.judge import VERDICTS

SHORT = Sampling(max_new_tokens=8)
JUDGED: dict[str, Any] = {
    "template": lambda prompt, first, second: letters.compare(prompt, first, second),
    "labels": VERDICTS,
}
PAIRS = [
    Comparison(prompt="what is 2 plus 3 ?", chosen="the answer is 5 .", rejected="i admire you ."),
    Comparison(prompt="what is 4 plus 1 ?", chosen="it is 5 .", rejected="the answer is 9 ."),
]


def letters_of(*, completions: Any, **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


@given(st.lists(st.text("ab", max_size=5), min_size=1, max_size=6), st.integers(-50, 50))
def test_what_a_reward_adds_to_all_answers_of_a_prompt_cancels(texts: list[str], offset: int) -> None:
    def moved(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return [v + offset * (p == "b") for v, p in zip(letters_of(completions=completions), prompts, strict=True)]

    rows: dict[str, Any] = {"prompts": ["a"] * len(texts) + ["b"] * len(texts), "completions": [*texts, *texts],
                            "group": [0] * len(texts) + [1] * len(texts), "anchor": ["ab"] * len(texts) + ["b"] * len(texts)}  # fmt: skip
    said = score(Anchored(letters_of), **rows).values
    assert torch.equal(score(Anchored(moved), **rows).values, said)
    lengths = torch.tensor([float(len(t)) for t in texts])
    assert torch.allclose(said, torch.sigmoid(torch.cat([lengths - 2, lengths - 1])))
    assert score(Anchored(letters_of), prompts=["a"], completions=["xy"], anchor=["xy"]).values.tolist() == [0.5]


def test_where_a_reward_does_not_apply_to_the_anchor_nothing_is_won() -> None:
    def some(*, completions: Any, **columns: Any) -> list[float | None]:
        return [None if c == "?" else 1.0 for c in completions]

    said = score(Anchored(some), prompts=["a"] * 3, completions=["x", "?", "x"], group=[0, 0, 1], anchor=["y", "y", "?"])  # fmt: skip
    assert said.valid.tolist() == [True, False, False]
    with pytest.raises(RewardError, match="compares with the column 'anchor'"):
        score(Anchored(some), prompts=["a"], completions=["x"])


def test_judging_is_the_cross_entropy_of_both_orders_and_learns_to_prefer_what_was_chosen(
    base_policy: LanguagePolicy,
) -> None:
    policy = letters.policy()
    algorithm = Judging(policy, **JUDGED)
    loss = algorithm(algorithm.experience(Rows(PAIRS), Step(0, 0)))
    judge = PairJudge(PolicyJudge(policy), **JUDGED)
    prompts, chosen, rejected = zip(*((p.prompt, p.chosen, p.rejected) for p in PAIRS), strict=True)
    there, back = judge.first_wins(prompts, chosen, rejected), judge.first_wins(prompts, rejected, chosen)
    assert torch.allclose(loss.sum, (-there.log() - (1 - back).log()).sum(), atol=1e-4)
    swapped = [p.model_copy(update={"chosen": p.rejected, "rejected": p.chosen}) for p in PAIRS]
    other = algorithm(algorithm.experience(Rows(swapped), Step(0, 0)))
    assert torch.allclose(other.sum, (-back.log() - (1 - there).log()).sum(), atol=1e-4)
    even = Judging(policy, symmetry=2.0, **JUDGED)
    more = even(even.experience(Rows(PAIRS), Step(0, 0)))
    assert torch.allclose(more.sum - loss.sum, 2 * (there + back - 1).square().sum(), atol=1e-4)
    before = judge.wins(prompts, chosen, rejected)
    fit(algorithm, PAIRS, steps=2, batch_size=2, lr=3e-4, progress=False)
    assert (judge.wins(prompts, chosen, rejected) > before).all()


def test_with_a_reward_it_is_ppo_and_without_an_answer_to_beat_nothing_begins(base_policy: LanguagePolicy) -> None:
    reward = Anchored(letters_of)
    rows = [Task(prompt=p.prompt, columns={"anchor": p.chosen}) for p in PAIRS]
    options: dict[str, Any] = {"kl": 0.1, "value_weight": 0.5, "group_size": 2, "sampling": SHORT}
    ours, plain = PairwiseRL(base_policy, reward, **options), PPO(base_policy, reward, **options)
    a, b = (x(x.experience(Rows(rows), Step(0, 0))) for x in (ours, plain))
    assert torch.equal(a.sum, b.sum)
    with pytest.raises(FeedbackError, match="record 2 has no column 'anchor', the answer to beat"):
        fit(ours, [rows[0], Task(prompt="thank you .")], steps=1, batch_size=2, progress=False)


def test_anchors_are_the_best_of_the_policys_own_and_stay_the_same(base_policy: LanguagePolicy) -> None:
    rows = [Task(prompt=p.prompt, columns={"k": i}) for i, p in enumerate(PAIRS)]
    best = with_anchors(base_policy, rows, letters_of, samples=4, sampling=SHORT, seed=3)
    assert best == with_anchors(base_policy, rows, letters_of, samples=4, sampling=SHORT, seed=3)
    assert [t.columns["k"] for t in best] == [0, 1]
    worst = with_anchors(base_policy, rows, lambda **s: [-v for v in letters_of(**s)], samples=4, sampling=SHORT, seed=3)  # fmt: skip
    assert all(len(a.columns["anchor"]) >= len(b.columns["anchor"]) for a, b in zip(best, worst, strict=True))
    own = base_policy.sample([r.prompt for r in rows], 1, SHORT, seed=3).completions
    assert [t.columns["anchor"] for t in with_anchors(base_policy, rows, sampling=SHORT, seed=3)] != own
