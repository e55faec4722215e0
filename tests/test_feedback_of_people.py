"""Feedback by person, pairs made of other things, and what curation did to a record."""

import json

import pytest

from accord import feedback
from accord.errors import ConfigError, FeedbackError
from accord.feedback import (
    Comparison,
    Node,
    account,
    by_person,
    dropped,
    flipped,
    in_context,
    kept,
    notes_of,
    original,
    pairs_of_frontier,
    pairs_of_log,
    pairs_of_scores,
    pairs_of_tree,
    split_people,
    usable,
)

PAIRS = [Comparison(prompt=f"p{i % 7}", chosen=f"a{i}", rejected=f"b{i}", annotator=f"who-{i % 10}", aspects={"wit": 1.0}) for i in range(60)]  # fmt: skip


def sides(pairs: list[Comparison]) -> list[tuple[str, str]]:
    return [(p.chosen, p.rejected) for p in pairs]


def test_everybody_has_all_that_they_said_in_order() -> None:
    found = by_person(PAIRS)
    assert list(found) == [f"who-{i}" for i in range(10)]
    assert sorted(p.chosen for said in found.values() for p in said) == sorted(p.chosen for p in PAIRS)
    assert found["who-3"] == PAIRS[3::10]
    with pytest.raises(FeedbackError, match="record 2 does not say who"):
        by_person([PAIRS[0], Comparison(prompt="p", chosen="a", rejected="b")])


def test_people_stand_on_one_side_whatever_their_company() -> None:
    train, test = split_people(PAIRS, 0.4, seed=1)
    assert train
    assert test
    assert not by_person(train).keys() & by_person(test).keys()
    assert len(train) + len(test) == len(PAIRS)
    alone = [p for p in PAIRS if p.annotator == test[0].annotator]
    assert split_people(alone, 0.4, seed=1) == ([], alone)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_people(PAIRS, 1.0)


def test_a_context_is_of_the_same_person_and_does_not_ask_the_same() -> None:
    found = in_context(PAIRS, 3)
    assert len(found) == len(PAIRS)
    for row in found:
        assert len({c.chosen for c in row.context}) == 3
        assert {c.annotator for c in row.context} == {row.target.annotator} == {row.person}
        assert row.target.prompt not in {c.prompt for c in row.context}
    assert found == in_context(PAIRS, 3)
    assert found != in_context(PAIRS, 3, seed=1)
    assert in_context(PAIRS, 6) == [], "five others are all that a person has"


SCORES = ("abcd", [1.0, 3.0, 2.0, 2.0])


def test_pairs_of_scores() -> None:
    assert sides(pairs_of_scores("p", *SCORES)) == [("b", "c"), ("b", "d"), ("b", "a"), ("c", "a"), ("d", "a")]
    assert sides(pairs_of_scores("p", *SCORES, how="ends")) == [("b", "a")]
    assert sides(pairs_of_scores("p", *SCORES, how="best")) == [("b", "c"), ("b", "d"), ("b", "a")]
    assert sides(pairs_of_scores("p", *SCORES, how="neighbours")) == [("b", "c"), ("d", "a")]
    assert sides(pairs_of_scores("p", *SCORES, gap=1.0)) == [("b", "a")]
    assert pairs_of_scores("p", "xx", [2.0, 2.0]) == pairs_of_scores("p", "", []) == []
    assert [p.strength for p in pairs_of_scores("p", *SCORES)] == [1, 1, 2, 1, 1]
    with pytest.raises(FeedbackError, match="3 values for 2"):
        pairs_of_scores("p", "ab", [1.0, 2.0, 3.0])


def test_one_score_alone_has_its_best_answers_for_a_frontier() -> None:
    assert sides(pairs_of_frontier("p", "abcd", {"x": SCORES[1]})) == [("b", "a"), ("b", "c"), ("b", "d")]
    found = pairs_of_frontier("p", "abcd", {"x": [2, 1, 1, 0], "y": [0, 1, 1, 2]})
    assert found == [], "nobody is as good in all"
    found = pairs_of_frontier("p", "abc", {"x": [2, 1, 0], "y": [2, 1, 1]})
    assert sides(found) == [("a", "b"), ("a", "c")], "b dominates c, but is no winner itself"
    assert found[1].aspects == {"x": 2, "y": 1}


def test_answers_of_a_tree_are_compared_where_they_part() -> None:
    tree = Node("so ", (Node("it is ", (Node("4", value=1.0), Node("5", value=0.0))), Node("no", value=0.0)))
    found = pairs_of_tree("p", tree)
    assert sides(found) == [("so it is 4", "so it is 5"), ("so it is 4", "so no")]
    assert [p.columns["shared"] for p in found] == [1, 0]
    with pytest.raises(FeedbackError, match="has no value"):
        pairs_of_tree("p", Node("a", (Node("b"),)))


def test_what_was_clicked_is_preferred_to_what_was_skipped_above() -> None:
    assert sides(pairs_of_log("p", "abcd", [2])) == [("c", "a"), ("c", "b")]
    assert sides(pairs_of_log("p", "abcd", [0])) == []
    assert sides(pairs_of_log("p", "abcd", [1, 2])) == [("b", "a"), ("c", "a")], "of two clicked ones none is skipped"
    with pytest.raises(FeedbackError, match="place 4"):
        pairs_of_log("p", "abcd", [4])


def test_curation_can_be_told_and_undone() -> None:
    a, b, c = PAIRS[:3]
    done = [kept(a, "clear", "voting"), flipped(b, "weak", "voting", strength=-0.5), dropped(flipped(c, "weak", "voting"), "twice", "ann")]  # fmt: skip
    assert [d.provenance.status for d in done] == ["kept", "flipped", "dropped"]
    assert (done[1].chosen, done[1].rejected, done[1].aspects) == (b.rejected, b.chosen, {"wit": -1.0})
    assert usable(done) == done[:2]
    assert notes_of(done[1]) == [{"did": "flipped", "why": "weak", "by": "voting", "strength": -0.5}]
    assert account(done) == {"ann: dropped": {"twice": 1}, "voting: flipped": {"weak": 2}, "voting: kept": {"clear": 1}}
    assert [original(d) for d in done] == [a, b, c]
    sided = a.model_copy(update={"columns": {"score_chosen": 3, "score_rejected": 1, "chosen_by": "ann"}})
    assert flipped(sided, "x", "y").columns == {"score_rejected": 3, "score_chosen": 1, "chosen_by": "ann"}
    assert original(flipped(sided, "x", "y")) == sided
    twice = flipped(flipped(a, "x", "y"), "x", "y")
    assert (twice.chosen, twice.provenance.status, len(notes_of(twice))) == (a.chosen, "kept", 2)
    rows = [json.loads(d.model_dump_json()) for d in done]
    assert list(feedback.read(rows)) == done, "a file keeps it"
    with pytest.raises(FeedbackError, match="says why"):
        kept(a, "", "voting")
