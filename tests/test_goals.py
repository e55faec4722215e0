"""Reward augmentation: two records a pair, each won by the answer that was asked for."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from accord.algorithms import DPO, RewardAugmentedDPO
from accord.cli.methods import Trainer
from accord.engine import Rows, Step
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Label, Ranking, asked_for, read, reward_augmented
from conftest import tiny_policy


def scored(a: float | list[float], b: float | list[float], **more: object) -> Comparison:
    return Comparison(
        prompt="?", chosen="good", rejected="poor", columns={"score_chosen": a, "score_rejected": b, **more}
    )


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), max_size=6))
def test_every_pair_that_is_told_apart_becomes_two_and_whoever_was_asked_for_wins(rows: list[tuple[int, int]]) -> None:
    made = reward_augmented([scored(a, b) for a, b in rows])
    assert len(made) == 2 * sum(a != b for a, b in rows)
    apart = [(a, b) for a, b in rows if a != b]
    for (a, b), first, second in zip(apart, made[0::2], made[1::2], strict=True):
        assert (first.prompt, first.chosen) == (asked_for("?", [a]), "good")
        assert (second.prompt, second.chosen) == (asked_for("?", [b]), "poor")
    turned = reward_augmented(
        [
            scored(a, b).flipped().model_copy(update={"columns": {"score_chosen": b, "score_rejected": a}})
            for a, b in rows
        ]
    )
    assert sorted((m.prompt, m.chosen) for m in turned) == sorted((m.prompt, m.chosen) for m in made), (
        "whichever was the better"
    )


def test_a_ranking_is_taken_apart_and_ties_are_left_out() -> None:
    made = reward_augmented([Ranking(prompt="?", completions=["a", "b", "c", "d"], scores=[8.5, 7, 7, 2])])
    assert len(made) == 2 * 5
    assert {(m.prompt, m.chosen) for m in made} == {
        (asked_for("?", [s]), c) for c, s in zip("abcd", (8.5, 7, 7, 2), strict=True)
    }


def test_scores_are_written_as_people_write_them_where_a_conversation_has_its_rules() -> None:
    assert "overall quality 8 (" in asked_for("hi", [8.0])
    assert "helpful 8.5, honest 3 (" in asked_for("hi", [8.5, 3], of=("helpful", "honest"))
    turns = [{"role": "user", "content": "hi"}]
    whole = asked_for([{"role": "system", "content": "be kind"}, *turns], [8])
    assert isinstance(whole, list)
    assert [m["role"] for m in whole] == ["system", "user"]
    assert str(whole[0]["content"]).startswith("be kind")
    assert asked_for(turns, [8])[0]["role"] == "system"
    assert turns == [{"role": "user", "content": "hi"}], "what was given stays as it was"


def test_several_attributes_are_one_goal_and_what_has_no_scores_is_named() -> None:
    both = reward_augmented([scored([8, 3], [8, 2])], lambda p, s: asked_for(p, s, of=("helpful", "brief")))
    assert [m.chosen for m in both] == ["good", "poor"]
    with pytest.raises(FeedbackError, match="record 2 has no 'score_rejected'"):
        reward_augmented([scored(3, 2), Comparison(prompt="?", chosen="a", rejected="b", columns={"score_chosen": 1})])
    with pytest.raises(FeedbackError, match="record 1 is a label without scores"):
        reward_augmented([Label(prompt="?", completion="a", label=True)])  # type: ignore[list-item]


def test_scores_that_a_goal_cannot_ask_for_are_refused_in_one_line() -> None:
    with pytest.raises(FeedbackError, match="record 1: 'score_chosen' should be a number"):
        RewardAugmentedDPO(tiny_policy()).check([scored("high", 2)])  # type: ignore[arg-type]
    with pytest.raises(FeedbackError, match="2 scores of one answer, but the goal names overall quality"):
        RewardAugmentedDPO(tiny_policy()).check([scored([8, 3], [8, 2])])
    with pytest.raises(FeedbackError, match="85 lies beyond the best, 10"):
        RewardAugmentedDPO(tiny_policy()).check([scored(85, 20)])
    RewardAugmentedDPO(tiny_policy(), best=100).check([scored(85, 20)])
    with pytest.raises(ConfigError, match="say it in your own"):
        RewardAugmentedDPO(tiny_policy(), goal=asked_for, best=100)
    assert Ranking not in Trainer.find("reward-augmented-dpo").learns


def test_trls_scores_are_read_and_augmented(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "?", "chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": 4}\n')
    assert [m.chosen for m in reward_augmented(read(file).comparisons())] == ["a", "b"]


def test_a_policy_that_does_not_read_the_goal_learns_nothing_from_a_pair() -> None:
    pairs = reward_augmented([scored(9, 2)], lambda prompt, scores: prompt)
    algorithm = DPO(tiny_policy())
    algorithm(algorithm.experience(Rows(pairs), Step(0, 0))).sum.backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-6 for p in algorithm.policy.parameters()), (
        "its two records cancel"
    )


def test_the_answer_with_the_score_that_is_asked_for_becomes_the_likeliest() -> None:
    """A table of logits for every goal and answer, all pairs of five answers."""
    scores = {"a": 1, "b": 4, "c": 6, "d": 8, "e": 9}
    pairs = [Comparison(prompt="", chosen=x, rejected=y, columns={"score_chosen": scores[x], "score_rejected": scores[y]})
             for x, y in permutations(scores, 2) if scores[x] > scores[y]]  # fmt: skip
    made = reward_augmented(pairs, lambda prompt, wanted: str(int(wanted[0])))
    goals, names = [str(s) for s in scores.values()], list(scores)
    index = torch.tensor([[goals.index(str(m.prompt)), names.index(m.chosen), names.index(m.rejected)] for m in made])
    logits = torch.zeros(5, 5, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        (-logsigmoid(logits[index[:, 0], index[:, 1]] - logits[index[:, 0], index[:, 2]])).mean().backward()
        optimiser.step()
    assert logits.argmax(-1).tolist() == [0, 1, 2, 3, 4]


def test_as_a_method_it_is_dpo_on_twice_the_pairs_and_is_measured_by_the_better_ones_score() -> None:
    policy = tiny_policy()
    rows = [scored(9, 2), scored(4, 7)]
    ours, dpo = RewardAugmentedDPO(policy), DPO(policy)
    ours.policy.model.get_input_embeddings().weight.data += 0.1  # no ratio is 1 any more
    loss = ours(ours.experience(Rows(rows), Step(0, 0)))
    plain = dpo(dpo.experience(Rows(reward_augmented(rows)), Step(0, 0)))
    assert loss.weight == 4
    assert torch.equal(loss.sum, plain.sum)
    asked = [r.model_copy(update={"prompt": asked_for("?", [r.columns["score_chosen"]])}) for r in rows]
    assert torch.equal(ours.evaluate(rows)[0], dpo.evaluate(asked)[0])


def test_pairs_that_score_alike_are_told_by_number() -> None:
    ours = RewardAugmentedDPO(tiny_policy())
    with pytest.raises(FeedbackError, match="record 2, its answers have the same score, teaches"):
        ours.check([scored(9, 2), scored(3, 3)])
    assert ours.unfit(Comparison(prompt="?", chosen="a", rejected="b")) == "without score_chosen and score_rejected"
    assert ours.unfit(scored([8, 3], [8, 2])) is None
