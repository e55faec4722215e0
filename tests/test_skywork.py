"""Curation in two stages: where it looks, what it keeps, and that it loses nothing on the way."""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.errors import FeedbackError, RewardError
from accord.feedback import Comparison, notes_of, read, usable
from accord.rewards import DualAgreement, PairJudge, Reward, by_comparing, curate, steered
from accord.rewards.skywork_reward_v2 import confidences, fetched, nearest, neighbours_to_fetch

Pairs = Sequence[Comparison]


def pairs(n: int, wrong: int = 3, start: int = 0) -> list[Comparison]:
    """Every wrong-th is labelled wrongly; of four topics."""
    made = []
    for i in range(start, start + n):
        sides = f"good {i}", f"bad {i}"
        chosen, rejected = sides[::-1] if wrong and i % wrong == 0 else sides
        made.append(Comparison(prompt=f"topic {i % 4}", chosen=chosen, rejected=rejected, columns={"i": i}))
    return made


def true(*, completions: Any, **x: Any) -> list[float]:
    return [3.0 * ("good" in c) for c in completions]


def right(pair: Comparison) -> bool:
    return "good" in str(pair.chosen)


def topic(some: Pairs) -> Tensor:
    return (
        torch.nn.functional.one_hot(torch.tensor([int(str(p.prompt)[-1]) for p in some]), 4).float()
        if some
        else torch.zeros(0, 4)
    )


def oracle(some: Pairs, shown: Sequence[Pairs]) -> list[bool | None]:
    return [right(p) for p in some]


def test_more_is_fetched_the_less_sure_a_checked_label_is() -> None:
    assert [neighbours_to_fetch(p) for p in (0.0, 0.5, 0.51, 0.9, 0.99, 1.0)] == [8, 8, 4, 1, 1, 0]
    counts = [neighbours_to_fetch(i / 200) for i in range(201)]
    assert counts == sorted(counts, reverse=True)


def test_what_lies_on_an_error_is_fetched_first_and_nothing_twice() -> None:
    table = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    assert fetched(torch.tensor([[0.0, 2.0]]), [0.1], table, most=2) == [2, 1]
    twice = fetched(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), [0.2, 0.3], table, most=2)
    assert twice == [0, 1, 2, 3], "the second takes what is left"
    assert fetched(torch.tensor([[1.0, 0.0]]), [1.0], table) == []
    assert nearest(torch.tensor([[2.0, 0.1]]), table, 9) == [[0, 1, 2, 3]]


def test_looking_for_neighbours_of_many_in_a_large_table_takes_little_memory() -> None:
    g = torch.Generator().manual_seed(0)
    checked, table = torch.randn(100, 4, generator=g), torch.randn(20_000, 4, generator=g)
    tracemalloc.start()
    found = fetched(checked, [0.0] * 100, table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(found)) == len(found) == 800
    assert found[:8] == nearest(checked[:1], table, 8)[0]
    assert peak < 2**20, "not a number for each of both"


class Learned:
    """Knows the topics it was taught, by the labels it was given."""

    def __init__(self, some: Pairs) -> None:
        self.known = {str(p.prompt): sum(1 if right(q) else -1 for q in some if q.prompt == p.prompt) for p in some}

    def __call__(self, *, prompts: Any, completions: Any, **x: Any) -> list[float]:
        return [self.known.get(p, 0) * float("good" in c) for p, c in zip(prompts, completions, strict=True)]


def test_it_looks_where_it_errs_and_never_trains_on_what_people_checked() -> None:
    checked, silver, pool = pairs(8, wrong=0), pairs(1, wrong=0, start=40), pairs(40, start=100)
    also = [*checked[:3], checked[3].flipped()]
    trained: list[list[Comparison]] = []

    def train(some: Pairs, number: int) -> Reward:
        trained.append(list(some))
        return Learned(some)

    found = steered(
        checked, [checked[0], *silver], [*also, *pool], train=train, judge=oracle, embed=topic, rounds=3, most=2
    )
    assert found.accuracy[0] == 0.25, "one topic of four"
    assert found.accuracy[-1] == 1.0
    first = {str(p.prompt) for p in found.labelled if notes_of(p) and notes_of(p)[-1]["round"] == 0}
    assert first >= {"topic 1", "topic 2", "topic 3"}, "the topics that it did not know"
    checks = {frozenset((p.chosen, p.rejected)) for p in checked}
    assert not any(frozenset((p.chosen, p.rejected)) in checks for some in trained for p in some)
    assert sorted(p.columns["i"] for p in [*found.labelled[1:], *found.left]) == [0, 0, 1, 2, 3, *range(100, 140)], (
        "each is somewhere, once"
    )
    assert all(right(p) for p in usable(found.labelled))
    assert found.reward.known == Learned(trained[found.accuracy.index(1.0)]).known  # type: ignore[attr-defined]


def test_the_judge_is_shown_the_checked_pairs_that_are_most_like_each() -> None:
    seen: list[tuple[str, set[str]]] = []

    def judge(some: Pairs, shown: Sequence[Pairs]) -> list[bool | None]:
        seen.extend((str(p.prompt), {str(e.prompt) for e in examples}) for p, examples in zip(some, shown, strict=True))
        return [None] * len(some)

    found = steered(pairs(16, wrong=0), pairs(1, wrong=0, start=40), pairs(12, start=50), train=lambda some, n: Learned(some), judge=judge, embed=topic, rounds=2, examples=4)  # fmt: skip
    assert seen
    assert all(examples == {prompt} for prompt, examples in seen)
    assert {notes_of(p)[-1]["did"] for p in found.labelled[1:]} == {"dropped"}, "nobody could tell"
    with pytest.raises(FeedbackError, match="some checked pairs"):
        steered([], pairs(1), [], train=lambda some, n: Learned(some), judge=judge, embed=topic)


def half(*, completions: Any, **x: Any) -> list[float]:
    """Errs on every fourth."""
    return [
        (1 if int(c.split()[1]) % 4 else -1) * v
        for c, v in zip(completions, true(completions=completions), strict=True)
    ]


def test_what_stays_is_what_the_checked_reward_and_another_agree_with() -> None:
    told = pairs(48)
    for judge in (None, oracle):
        found = [became[0] for became in DualAgreement(true, half, judge)(told)]
        status = [p.provenance.status for p in found]
        assert [s == "kept" for s in status] == [
            right(p) and (float(c) > 0.5 or judge is not None)
            for p, c in zip(told, confidences(half, told), strict=True)
        ]
        assert [s == "flipped" for s in status] == [
            not right(p) and float(c) <= 0.5 for p, c in zip(told, confidences(half, told), strict=True)
        ]
        assert len(status) == 48
        assert all(right(p) for p in found if p.provenance.status != "dropped"), (
            "with the truth as the checked reward all that is left is right"
        )
        assert all(len(notes_of(p)) == 1 for p in found)
    flat = [
        became[0]
        for became in DualAgreement(lambda **x: [1.0] * len(x["prompts"]), lambda **x: [1.0] * len(x["prompts"]))(told)
    ]
    assert {notes_of(p)[-1]["why"] for p in flat} == {"undecided"}, "who finds all alike denies nothing"
    assert {p.provenance.status for p in flat} == {"dropped"}
    thrown = [became[0].provenance.status for became in DualAgreement(true, half, recycle=False)(told)]
    assert set(thrown) == {"kept", "dropped"}


def test_a_pair_turned_round_is_flipped_where_it_was_kept() -> None:
    told = pairs(30, wrong=0)
    turned = [p.flipped().model_copy(update={"provenance": p.provenance}) for p in told]
    before, after = ([b[0] for b in DualAgreement(true, half)(some)] for some in (told, turned))
    for a, b in zip(before, after, strict=True):
        assert (a.provenance.status == "kept") == (b.provenance.status == "flipped")
        if a.provenance.status == "kept":
            assert (a.chosen, a.rejected) == (b.chosen, b.rejected)


def test_it_is_a_curator_of_files(tmp_path: Any) -> None:
    account = curate(pairs(40), tmp_path / "c.jsonl", [DualAgreement(true, half)], part=7)
    found = list(read(tmp_path / "c.jsonl"))
    assert sum(n for did in account.values() for n in did.values()) == 40 == len(found)
    assert notes_of(found[0])[-1].keys() >= {"gold", "best", "judge", "why", "by"}
    assert json.loads((tmp_path / "c.account.json").read_text())["account"] == account


class Reader:
    """Asked in words; likes what is said to be better in the examples, else what stands first."""

    fingerprint = ""

    def choose(self, questions: Sequence[Any], labels: Sequence[str]) -> Tensor:
        rows = []
        for q in questions:
            likes = "good" if "Better answer:\ngood" in str(q) else None
            a, b = str(q).split("Answer A:\n")[-1].split("Answer B:\n")
            rows.append([0.0, 3.0] if likes and likes in b else [2.0 if not likes or likes in a else 0.0, 0.0])
        return torch.tensor(rows)


def test_a_judge_who_reads_examples_labels_alike_in_either_order() -> None:
    judge = by_comparing(PairJudge(Reader()))  # type: ignore[arg-type]
    told = pairs(6)
    shown = [pairs(1, wrong=0)] * 6
    assert judge(told, shown) == [right(p) for p in told]
    turned = [p.flipped() for p in told]
    assert judge(turned, shown) == [not right(p) for p in told]
    assert judge(told, [[]] * 6) == [None] * 6, "who likes a place alone can't tell"


def test_any_reward_that_knows_what_to_beat_can_compare() -> None:
    def beats(*, completions: Any, anchor: Any, **x: Any) -> list[float | None]:
        return [
            None if "3" in a else float("good" in c) - float("good" in a) / 2
            for c, a in zip(completions, anchor, strict=True)
        ]

    told = pairs(6)
    assert by_comparing(beats)(told, [[]] * 6) == [None if i == 3 else right(p) for i, p in enumerate(told)]
    with pytest.raises(RewardError, match="nan"):
        by_comparing(lambda **x: [float("nan")] * len(x["prompts"]))(told, [[]] * 6)


def test_what_the_judge_is_shown_of_is_embedded_once() -> None:
    seen: list[int] = []

    def embed(some: Pairs) -> Tensor:
        seen.append(len(some))
        return topic(some)

    agreed = DualAgreement(true, half, oracle, checked=pairs(9, wrong=0), embed=embed)
    for start in (0, 20, 40):
        agreed(pairs(20, start=start))
    assert seen.count(9) == 1
