"""What curation must neither lose nor falsify: counts, votes after a flip, the user's own columns, what a test must not give away."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from accord import feedback
from accord.errors import ConfigError, FeedbackError, RunError
from accord.feedback import Cleaning, Comparison, Example, Ranking, dropped, flipped, notes_of, original, read, usable
from accord.feedback.cleaning import Seen
from accord.rewards import (
    Curator,
    DualAgreement,
    HeadReward,
    Relabelling,
    StrengthFitting,
    Synthesis,
    Voting,
    WordFeatures,
    curate,
)
from accord.rewards.curating import Source
from accord.rewards.ledger import Ledger
from conftest import tiny_policy


def said(n: int, **columns: Any) -> list[Comparison]:
    return [Comparison(prompt=f"p{i}", chosen=f"good {i}", rejected=f"bad {i}", columns=columns) for i in range(n)]


def good(*, completions: Any, **x: Any) -> list[float]:
    return [3.0 * ("good" in c) for c in completions]


def bad(*, completions: Any, **x: Any) -> list[float]:
    return [2.0 * ("bad" in c) for c in completions]


def through(source: Any, out: Path, *curators: Curator, **options: Any) -> list[Comparison]:
    curate(source, out, curators, **options)
    return list(read(out))  # type: ignore[arg-type]


@pytest.mark.parametrize("forgets", ["a record", "what became of it", "all"])
def test_a_curator_that_loses_comparisons_is_named_and_nothing_is_finished(forgets: str, tmp_path: Path) -> None:
    class Forgetful:
        def __call__(self, part: Sequence[Comparison]) -> list[list[Comparison]]:
            if forgets == "all":
                raise StopIteration
            left = [[p] for p in part if p.prompt != "p12"]
            return left if forgets == "a record" or len(left) == len(part) else [*left, []]

    with pytest.raises((FeedbackError, RunError), match=r"Forgetful|of 40 comparisons"):
        curate(said(40), tmp_path / "c.jsonl", [Forgetful()], part=10)
    assert not (tmp_path / "c.jsonl").exists()


def test_what_can_be_read_once_or_changes_between_both_looks_is_refused(tmp_path: Path) -> None:
    class Changes:
        def __init__(self, *looks: list[Comparison]) -> None:
            self.looks = list(looks)

        def __iter__(self) -> Any:
            return iter(self.looks.pop(0))

    with pytest.raises(ConfigError, match="read twice"):
        curate((p for p in said(40)), tmp_path / "c.jsonl")
    first = said(40)
    for n, second in enumerate((first[:20], [*first, *said(41)[40:]])):
        with pytest.raises((FeedbackError, RunError), match="chang"):
            curate(Changes(first, second), tmp_path / f"{n}.jsonl")
        assert not (tmp_path / f"{n}.jsonl").exists()


@pytest.mark.parametrize("options", [{}, {"soften": 0.2}, {"margin": False}])
@pytest.mark.parametrize("judge", [Relabelling(bad), DualAgreement(bad, bad)], ids=["a judge", "two rewards"])
def test_a_flip_after_a_vote_leaves_what_voters_say_of_the_label_as_it_then_is(
    judge: Curator, options: dict[str, Any], tmp_path: Path
) -> None:
    found = through(said(3), tmp_path / "a.jsonl", Voting([good], **options), judge)
    assert {p.provenance.status for p in found} == {"flipped"}
    turned = [p.flipped().model_copy(update={"provenance": p.provenance}) for p in said(3)]
    wanted = through(turned, tmp_path / "b.jsonl", Voting([good], **options))
    assert [p.columns for p in found] == [p.columns for p in wanted]
    assert [original(p) for p in found] == said(3)


def test_columns_of_the_user_come_back_after_any_number_of_votes(tmp_path: Path) -> None:
    told = said(4, weight=0.3, margin=7, x_chosen=1)
    once = through(told, tmp_path / "a.jsonl", Voting([bad], flip=0.5, drop=0.25), part=2)
    twice = through(usable(once), tmp_path / "b.jsonl", Voting([good]), Relabelling(bad))
    for some in (once, twice):
        assert all(original(p) in told for p in some)
        assert len({original(p).prompt for p in some}) == len(some)


def test_voters_that_are_taught_are_taught_by_each_file(tmp_path: Path) -> None:
    lessons: list[int] = []

    def teach(some: Sequence[Comparison]) -> list[Any]:
        lessons.append(len(some))
        return [good]

    voting = Voting(teach)
    for n in (5, 9):
        curate(said(n), tmp_path / f"{n}.jsonl", [voting])
    assert lessons == [5, 9]


def test_no_comparison_is_looked_at_twice_but_for_who_wants_a_sample(tmp_path: Path) -> None:
    asked: list[int] = []

    def counts(*, completions: Any, **x: Any) -> list[float]:
        asked.append(len(completions))
        return good(completions=completions)

    curate(said(10), tmp_path / "a.jsonl", [Voting([good], flip=0.1), Relabelling(counts)])
    assert sum(asked) == 20
    asked.clear()
    curate(said(10), tmp_path / "b.jsonl", [Relabelling(counts), Voting([good], flip=0.1)], part=4)
    assert sum(asked) == 40
    assert max(asked) <= 8, "a sample comes part by part too"


def test_of_equal_comparisons_one_that_was_dropped_before_does_not_take_the_other_with_it(tmp_path: Path) -> None:
    pair = said(1)[0]
    found = through([dropped(pair, "ambiguous", "somebody"), pair, pair], tmp_path / "c.jsonl")
    assert [p.provenance.status for p in found] == ["dropped", "kept", "dropped"]


def test_a_test_s_prompt_is_known_again_as_a_text_and_as_a_conversation() -> None:
    short, long = "what is this ?", "please write a long letter to my old aunt about the weather in spring"
    chats: list[Any] = [[{"role": "user", "content": t}] for t in (short, long)]
    chats += [
        [{"role": "system", "content": "be kind"}, *chats[0]],
        [{"role": "user", "content": [{"type": "text", "text": short}]}],
    ]
    for tests in ([short, long], chats[:2]):
        clean = Cleaning(tests)
        for prompt in (short, f"now {long}", *chats):
            assert clean(Comparison(prompt=prompt, chosen="a", rejected="b")) == "its prompt is one of the test's"
        for other in (
            "what is that ?",
            [{"role": "user", "content": "and what is this ?"}],
            [*chats[0], {"role": "assistant", "content": "a cat"}, *chats[0]],
        ):
            assert clean(Comparison(prompt=other, chosen="a", rejected="b")) is None  # type: ignore[arg-type]
    seen = Cleaning(
        [[{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": short}]}]]
    )
    assert seen(Comparison(prompt=short, chosen="a", rejected="b")) is None, "the same question of another picture"


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert len(through(said(2), tmp_path / "runs" / "new" / "c.jsonl")) == 2


def killed(out: Path, told: list[Comparison]) -> None:
    def stops(*, completions: Any, **x: Any) -> list[float]:
        if any(c.endswith(" 30") for c in completions):
            raise KeyboardInterrupt
        return good(completions=completions)

    with pytest.raises(KeyboardInterrupt):
        curate(told, out, [Relabelling(stops)], part=10)


def test_going_on_over_other_columns_or_answers_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    killed(out, said(40, v=1))
    with pytest.raises(RunError, match="began with another data"):
        curate(said(40, v=2), out, [Relabelling(good)], part=10, resume=True)
    assert len(through(said(40, v=1), out, Relabelling(good), part=10, resume=True)) == 40


def test_killed_between_the_file_s_name_and_the_note_of_it_it_has_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c.jsonl"
    note = Ledger._note

    def dies(self: Ledger) -> None:
        if self.finished:
            raise KeyboardInterrupt
        note(self)

    with monkeypatch.context() as m:
        m.setattr(Ledger, "_note", dies)
        with pytest.raises(KeyboardInterrupt):
            curate(said(20), out, [Relabelling(good)], part=10)
    account = curate(said(20), out, [Relabelling(good)], part=10, resume=True)
    assert account == {"relabelling: kept": {"confirmed": 20}}
    assert json.loads((tmp_path / "c.account.json").read_text())["finished"]


def test_a_flip_by_anyone_else_is_undone_in_order() -> None:
    pair = said(1, x_chosen=1)[0]
    assert original(flipped(flipped(flipped(pair, "a", "b"), "c", "d"), "e", "f")) == pair
    assert len(notes_of(flipped(pair, "a", "b"))) == 1


def test_workers_that_can_not_be_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers must be"):
        curate(said(2), tmp_path / "c.jsonl", workers=-1)
    assert not list(tmp_path.iterdir())


def test_what_a_source_leaves_out_is_counted_by_reason_and_told_in_the_account(tmp_path: Path) -> None:
    rows = [p.model_dump(exclude_defaults=True) for p in said(3)]
    rows[1:1] = [
        {"prompt": "p", "chosen": 3, "rejected": []},
        {"prompt": "p", "completion": "c"},
        {"prompt": "q", "completion": "c"},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*rows, {"prompt": "p", "chosen": []}]))
    account = curate(Source(tmp_path / "p.jsonl", skip_bad=True), tmp_path / "c.jsonl")
    left = dict(account["reading: left out"])
    assert left.pop("examples compare nothing") == 2
    ((why, n),) = left.items()
    assert n == 2
    assert why.startswith("malformed, the first: ")
    assert "line 2" in why
    assert json.loads((tmp_path / "c.account.json").read_text())["account"] == account
    assert curate(Source(tmp_path / "p.jsonl", skip_bad=True), tmp_path / "c.jsonl", resume=True) == account
    with pytest.raises(FeedbackError, match="record 2: examples compare nothing"):
        curate([said(1)[0], Example(prompt="p", completion="c")], tmp_path / "d.jsonl")


def test_rankings_are_curated_as_the_comparisons_within_them(tmp_path: Path) -> None:
    ranked = Ranking(prompt="p", completions=["a", "b", "c"])
    found = through(feedback.Feedback((ranked, *said(1))), tmp_path / "c.jsonl")
    assert found == [*feedback.comparisons_of(ranked), *said(1)]


def test_an_error_says_where_the_part_lies_and_whose_prompt_it_is(tmp_path: Path) -> None:
    def some(*, prompts: Any, completions: Any, **x: Any) -> list[float | None]:
        return [None if p == "p25" else v for p, v in zip(prompts, good(completions=completions), strict=True)]

    for n, curator in enumerate((Voting([some]), DualAgreement(some, good))):
        with pytest.raises(FeedbackError, match=r"comparisons 21 to 30.*'p25'"):
            curate(said(40), tmp_path / f"{n}.jsonl", [curator], part=10)
    with pytest.raises(FeedbackError, match="comparison 3 can't be written"):
        curate([*said(2), *said(1, odd=object())], tmp_path / "c.jsonl")


def test_going_on_under_other_tests_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    killed(out, said(40))
    with pytest.raises(RunError, match="began with another cleaning"):
        curate(said(40), out, [Relabelling(good)], part=10, cleaning=Cleaning(["p7"]), resume=True)


def test_new_pairs_can_be_learned_from_beside_those_that_were_voted_on(tmp_path: Path) -> None:
    def right(*, completions: Any, answer: Any, **x: Any) -> list[float | None]:
        assert "score_chosen" not in x
        return [None if a is None else float(c.count(a)) for c, a in zip(completions, answer, strict=True)]

    told = said(4, answer="e", score_chosen=3)
    maker = Synthesis(tiny_policy(), right, sampling={"max_new_tokens": 12})
    found = through(told, tmp_path / "c.jsonl", Voting([good]), maker)
    new = [p for p in found if notes_of(p)[-1]["by"] == "synthesis"]
    assert new
    assert all(p.chosen.count("e") > p.rejected.count("e") for p in new)  # type: ignore[union-attr]
    StrengthFitting(HeadReward(WordFeatures(64), hidden=0)).check(found)


def test_where_nothing_can_be_written_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="give another --out"):
        Seen(tmp_path / "nowhere" / "seen")
