"""Rewards of pieces: where texts fall apart, what a prefix adds, and who is paid for what."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForTokenClassification

from accord.algorithms import DenseGAE, FineGrainedRLHF, TokenGAE
from accord.engine import Rows, Step
from accord.errors import ConfigError, FeedbackError, ModelError
from accord.feedback import Marked, read
from accord.policies import Sampling
from accord.policies.base import Group
from accord.policies.language import TokenActions
from accord.rewards import PrefixDifferences, Scores, SegmentClassifier, Span, clauses, combine, score, sentences, whole
from accord.rewards.segments import labels_of
from accord.worlds import letters
from conftest import tiny_policy
from test_algorithms import fake

texts = st.text(st.sampled_from("ab ,;.!? "), max_size=60)


@given(texts, st.integers(1, 4))
def test_pieces_are_the_text_and_in_its_order(text: str, fewest: int) -> None:
    for pieces in (sentences, whole, lambda t: clauses(t, fewest)):
        found = pieces(text)
        assert "".join(text[a:b] for a, b in found) == text
        assert all(a < b for a, b in found)


def test_sentences_end_at_their_marks_and_clauses_where_both_sides_can_stand() -> None:
    text = 'It rains. "Does it?" Yes, it does; and it has rained for three days, so stay.'
    assert [text[a:b] for a, b in sentences(text)] == [
        "It rains. ",
        '"Does it?" ',
        "Yes, it does; and it has rained for three days, so stay.",
    ]
    assert [text[a:b] for a, b in clauses(text, 3)][2:] == [
        "Yes, it does; ",
        "and it has rained for three days, so stay.",
    ]
    assert clauses(text, 9) == sentences(text)


def vowels(*, prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    return [sum(c in "aeiou" for c in x) ** 1.5 for x in completions]


@given(st.lists(texts, min_size=1, max_size=4))
def test_what_each_prefix_adds_makes_up_the_whole(completions: list[str]) -> None:
    said = score(PrefixDifferences(vowels), prompts=["?"] * len(completions), completions=completions)
    assert said.spans is not None
    assert torch.allclose(said.values, torch.tensor(vowels(prompts=None, completions=completions)), atol=1e-4)
    assert torch.allclose(torch.tensor([float(sum(v for _, _, v in s)) for s in said.spans]), said.values, atol=1e-4)


def test_a_weighted_sum_has_the_pieces_of_all_and_is_linear_in_its_weights() -> None:
    def total(*, completions: list[str], **columns: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    def spans(a: float, b: float) -> list[Span]:
        both = combine({"vowels": PrefixDifferences(vowels), "long": total}, weights={"vowels": a, "long": b})
        said = score(both, prompts=["?"], completions=["a be. oui oui."])
        assert said.spans is not None
        assert sum(s.value for s in said.spans[0]) == pytest.approx(float(said.values[0]))
        return said.spans[0]

    one, two, mixed = spans(1, 0), spans(0, 1), spans(0.3, 2.0)
    assert [(s.start, s.stop) for s in mixed] == [(0, 6), (6, 14), (0, 14)]
    assert [s.value for s in mixed] == pytest.approx(
        [0.3 * a.value + 2.0 * b.value for a, b in zip(one, two, strict=True)]
    )


def test_a_piece_is_paid_at_the_token_that_writes_its_last_character() -> None:
    policy, texts = tiny_policy(), ["it is 5 .", "the answer is 5 . you are welcome ."]
    ids = [policy.tokeniser.completion("?", t) for t in texts]
    drawn = replace(fake([0, 0], [len(x) for x in ids]), completions=texts, actions=TokenActions([[1], [1]], ids))
    spans = [[Span(0, 2, 1.0), Span(3, 5, 0.3), Span(0, len(t), 0.5)] for t in texts]
    paid = policy.steps_of(drawn, spans)
    assert paid[0].tolist() == pytest.approx([1.0, 0.3, 0.0, 0.5, 0, 0, 0, 0, 0, 0]), (
        "it, is, 5, .; its end token writes nothing"
    )
    assert paid[1].tolist() == pytest.approx([1.0, 0.3, 0, 0, 0, 0, 0, 0, 0.5, 0]), (
        "the third letter of a word is that word's"
    )
    spaced = policy.steps_of(drawn, [[Span(0, 3, 1.0)], []])
    assert spaced[0, 0] == 1, "a space after a piece is not the next word"
    assert torch.equal(policy.steps_of(drawn, [[Span(0, 10_000, 2.0)]] * 2).sum(-1), torch.full((2,), 2.0))
    assert not policy.steps_of(drawn, [[], []]).any()


def rollouts(seed: int = 0) -> Any:
    made = fake([0, 0, 1], [4, 2, 5], seed)
    return replace(
        made, values=0.1 * torch.randn(made.mask.shape, generator=torch.Generator().manual_seed(9)) * made.mask
    )


def terms(credit: TokenGAE, scores: Scores) -> list[Tensor]:
    return [x for t in credit(scores, rollouts()) for x in (t.advantage, t.weight)]


def test_one_piece_at_the_end_is_ppo() -> None:
    steps = torch.zeros(3, 5)
    values = torch.tensor([1.0, -2.0, 0.5])
    steps[torch.arange(3), [3, 1, 4]] = values
    for a, b in zip(
        terms(TokenGAE(), Scores.of(values)), terms(DenseGAE(), Scores.of(values, steps=steps)), strict=True
    ):
        assert torch.equal(a, b)


def test_a_token_has_the_credit_of_what_ends_at_it_or_later_and_of_nothing_before() -> None:
    steps = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0], [0.0, -1.0, 9.0, 9.0, 9.0], [3.0, 0.0, 0.0, 0.0, 1.0]])
    credit = DenseGAE(kl=0.0, lam=1.0, whiten=False)
    found = credit(Scores.of(torch.zeros(3), steps=steps), replace(rollouts(), values=torch.zeros(3, 5)))[0].advantage
    assert torch.equal(found[0, :4], torch.tensor([3.0, 3.0, 2.0, 2.0]))
    assert torch.equal(found[1, :2], torch.tensor([-1.0, -1.0])), "and none beyond its end"
    assert torch.equal(found[2], torch.tensor([4.0, 1.0, 1.0, 1.0, 1.0]))
    twice = DenseGAE(kl=0.0, standardise=True, whiten=False)
    a, b = (twice(Scores.of(torch.zeros(3), steps=k * steps), rollouts())[0].advantage for k in (1, 7))
    assert torch.allclose(a, b, atol=1e-5), "standardised, their scale says nothing"


def test_rewards_of_pieces_reach_the_policy_as_they_were_meant() -> None:
    algorithm = FineGrainedRLHF(tiny_policy(), PrefixDifferences(vowels), group_size=2, kl=0.0, lam=1.0, whiten=False, standardise=False,
                                sampling=Sampling(max_new_tokens=12))  # fmt: skip
    given = algorithm.experience(Rows(letters.tasks(3, seed=1)), Step(0, 0))
    drawn = given.rollouts
    assert drawn.values is not None
    paid = given.terms[0].advantage[:, 0] + drawn.values[:, 0]
    assert torch.allclose(paid, torch.tensor(vowels(prompts=None, completions=drawn.completions)), atol=1e-3)
    with pytest.raises(ConfigError, match="wants a reward of pieces"):
        FineGrainedRLHF(tiny_policy(), vowels, sampling=Sampling(max_new_tokens=4)).experience(
            Rows(letters.tasks(2)), Step(0, 0)
        )


# The model that reads what is wrong.

MARKED = [Marked(prompt=f"what is {i} plus 3 ?", completion=f"the answer is {i} . you are so clever . thank you for asking .",
                 spans=[(0, 15, "wrong"), (18, 37, "flattery")]) for i in range(6)]  # fmt: skip


def test_a_piece_has_the_label_of_the_mark_that_covers_most_of_it() -> None:
    labels = ("", "wrong", "flattery")
    row = Marked(prompt="?", completion="aaaa bb. cc dd. ee.", spans=[(0, 3, "wrong"), (2, 12, "flattery")])
    assert labels_of(row, sentences(row.completion), labels).tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match="does not lie within the completion of 3 characters"):
        Marked(prompt="?", completion="abc", spans=[(1, 5, "wrong")])


def test_marks_are_read_from_a_file_in_both_spellings(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "marks.jsonl"
    file.write_text('{"prompt": "?", "completion": "ab. cd.", "spans": [[0, 3, "wrong"]]}\n'
                    '{"prompt": "?", "completion": "ab.", "spans": [{"start": 0, "end": 2, "label": "odd"}]}\n')  # fmt: skip
    assert [r.spans for r in read(file).records] == [[(0, 3, "wrong")], [(0, 2, "odd")]]  # type: ignore[union-attr]
    file.write_text('{"prompt": "?", "completion": "ab.", "spans": [[0, 2]]}\n')
    with pytest.raises(FeedbackError, match=r"spans\.0.* wants start, end and what is wrong"):
        read(file)


def test_it_learns_what_is_wrong_where_and_is_read_by_transformers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    reward = SegmentClassifier.fit(MARKED, letters.WEIGHTS, steps=30, batch_size=6, lr=2e-3, progress=False)
    assert reward.labels == ("nothing wrong", "flattery", "wrong")
    rows: dict[str, Any] = {"prompts": [r.prompt for r in MARKED[:2]] * 2, "completions": [r.completion for r in MARKED[:2]] + ["", "thank you for asking ."],
                            "group": [0, 1, 2, 3]}  # fmt: skip
    said = score(reward, **rows)
    assert said.spans is not None
    assert [[s.value for s in own] for own in said.spans] == [[-1, -1, 1]] * 2 + [[], [1]]
    assert said.values.tolist() == [-1, -1, 0, 1]
    reward.save(tmp_path / "saved")
    again = SegmentClassifier.load(tmp_path / "saved", expected=True, worth={"flattery": -0.5})
    soft = score(again, **rows)
    assert soft.spans is not None
    assert soft.spans[0][1].value == pytest.approx(-0.5, abs=0.2)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "saved")
    ids = reward.tokeniser.prompt(MARKED[0].prompt) + reward.tokeniser.completion(
        MARKED[0].prompt, MARKED[0].completion
    )
    first = len(reward.tokeniser.prompt(MARKED[0].prompt))
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([ids])).logits[0, [first + 4, first + 9, first + 14]]
    ours = reward.logits([Group(MARKED[0].prompt, (MARKED[0].completion,))])[0]
    assert torch.allclose(ours, theirs, atol=1e-4), "what stands at the full stops"
    with pytest.raises(ModelError, match="knows the labels nothing wrong, flattery, wrong, not bad"):
        SegmentClassifier.load(tmp_path / "saved", ["bad"])
    with pytest.raises(FeedbackError, match="record 1 marks 'odd', but the model knows"):
        SegmentClassifier.fit([Marked(prompt="?", completion="ab", spans=[(0, 1, "odd")])], reward, steps=1)


def test_a_later_piece_says_nothing_of_an_earlier_one() -> None:
    reward = SegmentClassifier.load(letters.WEIGHTS, ["wrong"])
    torch.nn.init.normal_(reward.core.score.weight)  # type: ignore[union-attr, arg-type]
    a, b = (
        reward.logits([Group("?", (f"it is 5 . {rest}",))])[0][0] for rest in ("i admire you .", "no . yes . maybe .")
    )
    assert torch.allclose(a, b, atol=1e-5)
