"""ACRE: contents instead of letters, and what each kind of answerer is worth."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms import ACRE, GRPO
from accord.engine import Rows, Step
from accord.errors import FeedbackError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Rollouts
from accord.rewards import AnswerConsistency, Scores, score
from accord.rewards.consistency import content, listed, moved, reordered, shuffles, split_answer
from accord.worlds import letters
from accord.worlds.letters.quizzes import led_to, quizzes, worked_examples
from test_algorithms import fake

OPTIONS = ["5", "7", "9", "11"]


def asked(question: str, options: Sequence[str]) -> str:
    """A question and its options under letters."""
    return "\n".join(
        [question, *(f"{letter}. {text}" for letter, text in zip("ABCD", options, strict=True)), "Which one?"]
    )


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
    return score(AnswerConsistency(policy, choices="options", **options), prompts=prompts, completions=said, options=[OPTIONS] * len(said),
                 answer=[right] * len(said))  # fmt: skip


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
    rows: dict[str, Any] = {"prompts": ["a", asked("?", OPTIONS)], "completions": ["free", thought("B")], "options": [None, OPTIONS], "answer": ["x", "7"]}  # fmt: skip
    with pytest.raises(FeedbackError, match="has no options to shuffle"):
        score(AnswerConsistency(Answers(by_content), choices="options"), **rows)
    said = score(AnswerConsistency(Answers(by_content), choices="options", plain=lambda **c: [0.25], form=0.0), **rows)
    assert said.values.tolist() == [0.25, 1.0]
    with pytest.raises(FeedbackError, match="ACRE reads the column 'options'"):
        score(AnswerConsistency(Answers(by_content), choices="options"), prompts=["a"], completions=["b"])


@given(st.permutations(["5", "15", "1 5", "b"]))
def test_options_change_places_in_the_prompt_as_it_is_worded(order: list[str]) -> None:
    options = ["5", "15", "1 5", "b"]
    text = "which is 5 plus 10 : (a) {} (b) {} (c) {} (d) {} ?"
    assert reordered(text.format(*options), options, order) == text.format(*order)
    turns = [{"role": "system", "content": "b"}, {"role": "user", "content": text.format(*options)}]
    assert reordered(turns, options, order) == [turns[0], {"role": "user", "content": text.format(*order)}]
    back = reordered(text.format(*order), order, options)
    assert back == text.format(*options)
    assert reordered("no options here", options, order) is None
    assert listed(text.format(*order)) == order


@pytest.mark.parametrize(("said", "meant"), [
    ("B", "7"), ("(b) .", "7"), ("b)", "7"), ("7 . thank you", "7"), ("B. because", "7"), ("it is C", "9"), ("Z", None), ("a dog", None), ("8", None),
])  # fmt: skip
def test_an_answer_means_an_option_by_its_letter_or_by_its_words(said: str, meant: str | None) -> None:
    assert content(said, OPTIONS) == meant


@pytest.mark.parametrize(("text", "options"), [
    (asked("A. B. said: what is it ?", [*OPTIONS[:2], "nine. of", "(x)"]).removesuffix("\nWhich one?"), ["5", "7", "nine. of", "(x)"]),
    ("Is it so?\n\nChoices:\n (A) No, I am not\n (B) Yes, of course", ["No, I am not", "Yes, of course"]),
    ("which is 1 plus 2 : (a) 3 (b) 4 ?", ["3", "4"]), ("nothing to choose", []), ("(a) one (c) two", []), ("A) x\nB) y", ["x", "y"]),
])  # fmt: skip
def test_options_are_read_off_the_prompt(text: str, options: list[str]) -> None:
    assert listed(text) == options


def test_in_sentences_the_last_answer_counts_and_the_second_reading_goes_on_where_it_began() -> None:
    seen: list[str] = []

    def say(prompt: str, begun: str) -> str:
        seen.append(begun)
        return f" {letter(prompt, '7')} ."

    said = worth(Answers(say), ["3 plus 4 is 7 . the answer is (b) .", "the answer is", "7"], layout="sentence", form=0.0)  # fmt: skip
    assert seen == ["3 plus 4 is 7 . the answer is"]
    assert said.values.tolist() == [1.0, 0.0, 0.0]


def test_acre_that_pays_for_accuracy_alone_is_grpo(base_policy: LanguagePolicy) -> None:
    def accuracy(*, prompts: Any, completions: Any, answer: Any, **columns: Any) -> list[float]:
        said = [x.rpartition("the answer is ")[2] if "the answer is " in x else None for x in completions]
        return [
            0.0 if s is None else 0.5 + (content(s, o) == content(a, o))
            for s, o, a in zip(said, map(listed, prompts), answer, strict=True)
        ]

    rows = letters.tasks(3, seed=5, kinds=("quiz",))
    options: dict[str, Any] = {"kl": 0.04, "group_size": 6, "sampling": Sampling(max_new_tokens=32)}
    ours = ACRE(base_policy, alphas=(1.0, 1.0, 0.0), layout="sentence", **options)
    plain = GRPO(base_policy, accuracy, **options)
    a, b = (x.experience(Rows(rows), Step(0, 0)) for x in (ours, plain))
    assert len(set(a.rollouts.completions)) > 1
    assert float(a.terms[0].advantage.abs().sum()) > 0
    for one, other in zip(a.terms, b.terms, strict=True):
        assert torch.allclose(one.advantage, other.advantage, atol=1e-5)
        assert torch.equal(one.weight, other.weight)


def test_quizzes_have_their_right_option_first_as_often_as_is_asked_and_are_worked_out() -> None:
    often, seldom = quizzes(300, seed=1, first=0.6), quizzes(300, seed=1)
    for made, share in ((often, 0.6), (seldom, 0.25)):
        firsts = [t.columns["answer"] == listed(str(t.prompt))[0] for t in made]
        assert sum(firsts) / len(firsts) == pytest.approx(share, abs=0.09)
    shown = worked_examples(often)
    assert all(led_to(e.completion) == t.columns["answer"] for e, t in zip(shown, often, strict=True))
    assert all(e.completion.endswith(f"the answer is {t.columns['answer']} .") for e, t in zip(shown, often, strict=True))  # fmt: skip
    by_habit = [c.completion.split()[-2] == listed(str(c.prompt))[0] for c in worked_examples(seldom, habit=0.5)]
    assert sum(by_habit) / len(by_habit) == pytest.approx(0.5 + 0.5 * 0.25, abs=0.09)
    assert led_to("the answer is 7 .") is None
    tests = {str(t.prompt) for t in quizzes(50, seed=1, split="test")}
    assert tests.isdisjoint(str(t.prompt) for t in often)
