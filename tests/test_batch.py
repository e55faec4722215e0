"""What belongs together row by row stays together: selecting, joining, padding, moving."""

from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.engine.batch import Batch, Padded, Whole
from accord.policies.base import Rollouts
from accord.policies.diffusion import Condition
from accord.rewards import Scores


@dataclass(frozen=True)
class Inner(Batch):
    ids: list[list[int]]


@dataclass(frozen=True)
class Outer(Batch):
    x: Tensor
    names: tuple[str, ...]
    inner: Inner
    columns: dict[str, Any] = field(default_factory=dict)
    lacking: Tensor | None = None
    steps: Padded[Tensor | None] = None
    rule: Whole[str] = "a"


def made(n: int, steps: int = 2, start: int = 0) -> Outer:
    """n rows that know their number in every field."""
    numbers = torch.arange(start, start + n)
    return Outer(numbers.float(), tuple(f"row {int(i)}" for i in numbers), Inner([[int(i)] * 2 for i in numbers]),
                 {"a": numbers, "b": [int(i) for i in numbers], "deep": {"c": numbers[:, None] * 1.0}},
                 steps=(numbers[:, None] + 1).expand(n, steps).float())  # fmt: skip


def rows_of(batch: Outer) -> list[int]:
    """The numbers of its rows; every field has to say the same."""
    numbers = [int(i) for i in batch.x]
    said = [[int(t.removeprefix("row ")) for t in batch.names], [a for a, _ in batch.inner.ids],
            batch.columns["a"].tolist(), batch.columns["b"], batch.columns["deep"]["c"][:, 0].tolist()]  # fmt: skip
    assert all(s == numbers for s in said)
    assert batch.steps is not None
    assert all(set((row[row != 0] - 1).tolist()) <= {i} for row, i in zip(batch.steps, numbers, strict=True))
    assert set(batch.sizes().values()) <= {len(batch)}
    return numbers


sizes = st.integers(0, 7)


@given(sizes.flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, max(n - 1, 0)), max_size=9 if n else 0))),
       st.sampled_from([list, tuple, torch.tensor]))  # fmt: skip
def test_select_takes_the_same_rows_of_every_field(asked: tuple[int, list[int]], kind: Any) -> None:
    n, rows = asked
    assert rows_of(made(n).select(kind(rows))) == rows


@given(sizes, st.data())
def test_selecting_twice_is_selecting_the_selected(n: int, data: st.DataObject) -> None:
    first = data.draw(st.permutations(range(n)))
    second = data.draw(st.permutations(range(n)))
    assert rows_of(made(n).select(first).select(second)) == [first[i] for i in second]
    back = sorted(range(n), key=first.__getitem__)
    assert rows_of(made(n).select(first).select(back)) == list(range(n))


@given(st.lists(st.tuples(sizes, st.integers(1, 4)), min_size=1, max_size=4))
def test_joined_parts_are_found_again_and_short_ones_end_in_zeros(shapes: list[tuple[int, int]]) -> None:
    starts = list(accumulate((n for n, _ in shapes), initial=0))
    parts = [made(n, t, start) for (n, t), start in zip(shapes, starts, strict=False)]
    joined = Outer.concat(parts)
    assert rows_of(joined) == list(range(starts[-1]))
    assert joined.steps is not None
    for (n, t), start in zip(shapes, starts, strict=False):
        again = joined.select(range(start, start + n)).steps
        assert again is not None
        assert bool((again[:, :t] != 0).all())
        assert bool((again[:, t:] == 0).all())


def test_what_is_said_of_all_rows_stays_and_what_only_some_parts_know_is_none_or_nothing() -> None:
    some = replace(made(2), rule="b", columns={"a": torch.ones(2), "only": ["x", "y"]}, lacking=torch.ones(2))
    other = replace(made(1), columns={"a": torch.zeros(1), "more": torch.ones(1)})
    joined = Outer.concat([some, other])
    assert joined.select([2, 0]).rule == "b"
    assert joined.lacking is None
    assert joined.columns["only"] == ["x", "y", None]
    assert set(joined.columns) == {"a", "only"}
    assert Outer.concat([some, some]).lacking is not None


def test_all_tensors_move_and_lose_their_graph_and_rows_can_be_taken_there() -> None:
    batch = replace(made(3), x=torch.ones(3, requires_grad=True) * 2)
    there = batch.to("meta").select([2, 0])
    held = [there.x, there.columns["a"], there.columns["deep"]["c"], there.steps]
    assert {t.device.type for t in held if t is not None} == {"meta"}
    assert there.inner.ids == [[2, 2], [0, 0]]
    assert batch.x.requires_grad
    assert not batch.detach().x.requires_grad


# The two that flow through everything.


def spoken(n: int) -> Scores:
    """Scores that carry all they can."""
    x = torch.arange(n).float()
    told = Scores.of(-x)
    return Scores(x, x != 1, {"a": x + 1}, x + 2, x[:, None] + torch.zeros(2), [str(i) for i in range(n)], text=[f"judged {i}" for i in range(n)],
                  parsed=x != 2, spans=[[(0, i, 0.5)] for i in range(n)], steps=x[:, None] + torch.zeros(3), regions=x[:, None, None] + torch.zeros(2, 2),
                  parts={"one": told})  # fmt: skip


def test_scores_keep_all_they_carry_when_selected_and_joined() -> None:
    said = spoken(4)
    assert all(getattr(said, f.name) is not None for f in fields(Scores))
    again = Scores.concat([said.select([3, 1]), said.select([0, 2])]).select([2, 1, 3, 0])
    assert again.sizes() == said.sizes()
    for f in fields(Scores):
        one, two = getattr(said, f.name), getattr(again, f.name)
        assert torch.equal(one, two) if isinstance(one, Tensor) else str(one) == str(two), f.name


def test_rollouts_keep_the_prompts_of_their_episodes_and_no_others() -> None:
    drawn = Rollouts(["p", "q"], torch.tensor([0, 0, 1]), ["a", "b", "c"], torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 2),
                     torch.ones(3, dtype=torch.bool), Inner([[0], [1], [2]]), context={"k": [0, 1, 2]})  # fmt: skip
    last = drawn.select([2])
    assert (last.prompts, last.group.tolist(), last.actions.ids, last.context) == (["q"], [0], [[2]], {"k": [2]})
    joined = Rollouts.concat([last, drawn])
    assert joined.prompt_of_each() == ["q", "p", "p", "q"]
    assert joined.actions.ids == [[2], [0], [1], [2]]
    with pytest.raises(AttributeError):
        joined.group = torch.zeros(4)  # type: ignore[misc]


def test_each_column_of_many_parts_is_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    joins: list[int] = []
    cat = torch.cat
    monkeypatch.setattr(torch, "cat", lambda parts, *a: joins.append(len(parts)) or cat(parts, *a))
    parts = [Condition({"a": torch.ones(1, 2), "b": torch.zeros(1, 3)}) for _ in range(50)]
    assert len(Condition.concat(parts)) == 50
    assert joins == [50, 50]
