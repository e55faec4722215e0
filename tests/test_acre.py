"""ACRE: contents instead of letters, and what each kind of answerer is worth."""

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import FeedbackError
from accord.policies.base import Rollouts
from accord.rewards import AnswerConsistency, Scores, score
from accord.rewards.consistency import asked, content, moved, shuffles, split_answer
from test_algorithms import fake

OPTIONS = ["5", "7", "9", "11"]


class Answers:
    """A policy whose second answer is a function of the prompt and of what was begun."""

    def __init__(self, say: Any) -> None:
        self.say, self.calls = say, 0

    def sample(self, prompts: list[str], n: int, sampling: Any, *, seed: Any, begun: list[str]) -> Rollouts:
        self.calls += len(prompts)
        made = fake([0] * len(prompts), [1] * len(prompts))
        return Rollouts(
            **{**vars(made), "completions": [b + self.say(p, b) for p, b in zip(prompts, begun, strict=True)]}
        )


def letter(prompt: str, text: str) -> str:
    """Under which letter a text stands."""
    return next(line[0] for line in prompt.splitlines() if line[1:3] == ". " and line[3:] == text)


def worth(policy: Any, said: list[str], right: str = "7", **options: Any) -> Scores:
    prompts = [asked("what is 3 plus 4 ?", OPTIONS)] * len(said)
    return score(AnswerConsistency(policy, **options), prompts=prompts, completions=said, question=["what is 3 plus 4 ?"] * len(said),
                 options=[OPTIONS] * len(said), answer=[right] * len(said))  # fmt: skip


def thought(answer: str, trace: str = "3 and 4 make 7") -> str:
    return f"<think>{trace}</think><answer>{answer}</answer>"


def by_content(prompt: str, begun: str) -> str:
    return letter(prompt, "7") + "</answer>"


def test_who_goes_by_the_contents_is_worth_all_or_what_a_good_trace_is() -> None:
    said = worth(Answers(by_content), [thought("B"), thought("A"), "no form", thought("7")], form=0.5)
    assert said.values.tolist() == pytest.approx([1.5, 0.7, 0.0, 1.5])
    assert said.aspects["carried"].tolist() == [1, 1, 0, 1]
    assert said.answer == ["7", "5", None, "7"]


def test_who_always_says_one_letter_is_never_right_twice() -> None:
    for seed in range(20):
        said = worth(Answers(lambda p, b: "B</answer>"), [thought("B")], seed=seed, form=0.0)
        assert said.values.tolist() == [0.5], "the right one stands under another letter"


def test_with_alphas_one_one_none_it_is_accuracy() -> None:
    for say in (by_content, lambda p, b: "C</answer>"):
        said = worth(Answers(say), [thought("B"), thought("C"), "x"], alphas=(1.0, 1.0, 0.0), form=0.0)
        assert said.values.tolist() == [1, 0, 0]


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=6, unique=True), st.integers(0, 99))
def test_options_move_and_keep_their_contents(options: list[str], seed: int) -> None:
    right = options[seed % len(options)]
    order = moved(options, right, Random(seed))
    assert sorted(order) == sorted(options)
    assert order.index(right) != options.index(right)
    for i, text in enumerate(order):
        assert content("ABCDEF"[i], order) == text


def test_what_cannot_be_shuffled_is_not_and_without_a_form_nobody_is_asked() -> None:
    assert not shuffles(["a", "A "])
    assert not shuffles(["a", "b", "All of the above"])
    assert not shuffles(["a"])
    policy = Answers(by_content)
    worth(policy, ["no form", "<think>a</think>"])
    assert policy.calls == 0
    worth(policy, [thought("B")], again=3)
    assert policy.calls == 3
    assert split_answer("<think>a</think> <answer>B</answer> and more") is None
    assert split_answer("<think>a<think>b</think><answer>B</answer>") is None


def test_the_trace_is_read_again_as_it_was_or_without_the_sentence_that_names_a_letter() -> None:
    seen: list[str] = []

    def say(prompt: str, begun: str) -> str:
        seen.append(begun)
        return "A"

    trace = "It is 7. So the answer is B."
    worth(Answers(say), [thought("B", trace)])
    worth(Answers(say), [thought("B", trace)], without_last=True)
    assert seen == [f"<think>{trace}</think><answer>", "<think>It is 7. </think><answer>"]


def test_a_trace_that_settles_the_contents_is_worth_more_than_one_that_is_right_half_the_time() -> None:
    """Two traces, both right half the time at first; the one whose second answers are right more often is worth more on average."""
    draws = Random(0)
    good, poor = ([worth(Answers(lambda p, b, q=q: by_content(p, b) if draws.random() < q else "Z"), [thought("B")], alphas=(1, 0, 0), form=0.0)
                   .values for _ in range(60)] for q in (0.9, 0.5))  # fmt: skip
    assert torch.cat(good).mean() > torch.cat(poor).mean() + 0.2


def test_questions_without_options_go_to_their_own_reward_or_are_refused() -> None:
    rows: dict[str, Any] = {"prompts": ["a", asked("?", OPTIONS)], "completions": ["free", thought("B")], "question": ["a", "?"],
                            "options": [None, OPTIONS], "answer": ["x", "7"]}  # fmt: skip
    with pytest.raises(FeedbackError, match="has no options to shuffle"):
        score(AnswerConsistency(Answers(by_content)), **rows)
    said = score(AnswerConsistency(Answers(by_content), plain=lambda **c: [0.25], form=0.0), **rows)
    assert said.values.tolist() == [0.25, 1.0]
    with pytest.raises(FeedbackError, match="ACRE reads the column 'question'"):
        score(AnswerConsistency(Answers(by_content)), prompts=["a"], completions=["b"])
