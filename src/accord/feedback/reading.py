"""Reading feedback from what people have: files, hub datasets, objects in memory. A bad record is named exactly."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from accord.errors import ConfigError, FeedbackError
from accord.feedback.fields import BadField, plain, short
from accord.feedback.formats import SUFFIXES, Cells, Row, file_rows, folder_rows, hub_rows, without_nones
from accord.feedback.messages import prompt_key
from accord.feedback.records import AnyRecord, Comparison, Ranking, Record, columns_of, comparisons_of
from accord.feedback.shapes import record_of
from accord.feedback.turns import conversation

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Feedback(Sequence[AnyRecord]):
    """Records in order, and what was skipped on the way.

    Attributes:
        skipped: one line for each malformed record that was left out.
        places: where each record stands in its source ("line 3"), where that is known.
    """

    records: tuple[AnyRecord, ...]
    skipped: tuple[str, ...] = field(default=())
    places: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> AnyRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "Feedback": ...
    def __getitem__(self, index: int | slice) -> "AnyRecord | Feedback":
        return Feedback(self.records[index]) if isinstance(index, slice) else self.records[index]

    def of(self, kind: type[R]) -> list[R]:
        """The records of one kind."""
        return [r for r in self.records if isinstance(r, kind)]

    def comparisons(self) -> list[Comparison]:
        """All comparisons, those within rankings included; raises FeedbackError if there are none."""
        pairs = self.of(Comparison) + [c for r in self.of(Ranking) for c in comparisons_of(r)]
        if not pairs:
            first = self.records[0]
            raise FeedbackError(
                f"no comparisons among {len(self)} records, which read as {type(first).__name__.lower()}s with the columns "
                f"{sorted(first.columns)}; wanted chosen and rejected (name yours with --columns.chosen=…) or rankings"
            )
        return pairs

    def split(self, test: float = 0.1, *, seed: int = 0, by: str = "prompt") -> tuple["Feedback", "Feedback"]:
        """Two parts, (train, test), that share no prompt; a record's side depends on its prompt and the seed alone.

        Args:
            test: expected share of the second part, in (0, 1).
            by: "prompt", or the name of a column whose values stay together.
        """
        kept: tuple[list[AnyRecord], list[AnyRecord]] = ([], [])
        for record in self.records:
            kept[_unit(f"{seed}\x1f{_split_key(record, by)}") < test].append(record)
        return Feedback(tuple(kept[0])), Feedback(tuple(kept[1]))


def read(source: Any, *, columns: Mapping[str, str] | None = None, skip_bad: bool = False,
         limit: int | None = None) -> Feedback:  # fmt: skip
    """Read all feedback of a source.

    Args:
        source: path of a .jsonl, .json, .csv, .tsv or .parquet file (.gz too), a folder of pictures with captions (see
            `folder_rows`), name of a hub dataset (``org/name`` or ``org/name:split``), a `datasets` object, or any iterable of
            rows or records.
        columns: for each field accord should find, the name of the column that holds it.
        skip_bad: leave malformed records out (they are listed in `skipped`) instead of raising.
        limit: read at most so many records, at least 1.

    Raises:
        FeedbackError: names the file, line and field of the first malformed record.
    """
    skipped: list[str] = []
    found = list(_read(source, columns, skipped if skip_bad else None, limit))
    if not found:
        why = f"all {len(skipped)} records are malformed, the first: {skipped[0]}" if skipped else "it is empty"
        raise FeedbackError(f"no feedback in {_name(source)}: {why}")
    return Feedback(tuple(r for _, r in found), tuple(skipped), tuple(w for w, _ in found))


def stream(source: Any, *, columns: Mapping[str, str] | None = None, skipped: list[str] | None = None,
           limit: int | None = None) -> Iterator[AnyRecord]:  # fmt: skip
    """The records of a source one by one, for files larger than memory; see `read`.

    Args:
        skipped: a list that takes the messages of malformed records; None raises at the first.
    """
    return (record for _, record in _read(source, columns, skipped, limit))


def rows_of(source: Any) -> list[Any]:
    """What a caller gave as data, as rows to train on: the one door for all of it.

    A path or hub name is read. Rows of named fields (those of a `datasets` object too) become records; records, texts,
    conversations and rows of other kinds stay as they are. All records get the same columns, None where one lacks it.

    Raises:
        FeedbackError: something in it is no row; the message names which.
    """
    if isinstance(source, str | Path):
        rows: list[Any] = list(read(source))
    else:
        rows = [_row(where, row, _name(source)) for where, row in _rows(source)]
    names = columns_of(rows).keys()
    return [_with_columns(row, names) if isinstance(row, Record) else row for row in rows]


def _row(where: str, row: Any, name: str) -> Any:
    if row is None or isinstance(row, bool | bytes):  # a number may be all that an algorithm needs to make a row itself
        raise FeedbackError(f"{name}, {where}: wants a record, a prompt or a row of named fields, but is {short(row)}")
    if not isinstance(row, Mapping | list):
        return row
    if isinstance(row, Mapping) and "content" in row and "role" in row and "prompt" not in row:
        raise FeedbackError(f"{name} is one conversation, not rows: put it into a list, [[{{'role': …}}, …]]")
    try:
        return _record(row, None) if isinstance(row, Mapping) else conversation(plain(row, "prompt"), "prompt")
    except (BadField, ValidationError) as error:
        raise FeedbackError(f"{name}, {where}: {_explain(error)}") from None


def _with_columns(record: Record, names: Iterable[str]) -> Record:
    if record.columns.keys() == names:
        return record
    return record.model_copy(update={"columns": {k: record.columns.get(k) for k in names}})


def _read(source: Any, columns: Mapping[str, str] | None, skipped: list[str] | None,
          limit: int | None) -> Iterator[tuple[str, AnyRecord]]:  # fmt: skip
    """Records with where they stand."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, but is {limit}")
    name, count = _name(source), 0
    for where, row in _rows(source):
        try:
            record = _record(row, columns)
        except (BadField, ValidationError) as error:
            message = f"{name}, {where}: {_explain(error)}"
            if skipped is None:
                raise FeedbackError(f"{message} (--skip-bad leaves such records out)") from None
            skipped.append(message)
            continue
        yield where, record
        count += 1
        if count == limit:
            return


def _record(row: Any, columns: Mapping[str, str] | None) -> AnyRecord:
    if isinstance(row, Record):
        return row  # type: ignore[return-value]
    if isinstance(row, BadField):
        raise row
    if not isinstance(row, Mapping) or not all(isinstance(k, str) for k in row):
        raise BadField("", f"wants named fields, but is a {type(row).__name__}: {short(row)}")
    named: dict[str, Any] = dict(row)
    if columns:
        for target, column in columns.items():
            if column not in row:
                raise BadField(column, f"is missing (asked for as {target}); the row has {sorted(row)}")
        taken = set(columns.values())
        named = {**{k: v for k, v in row.items() if k not in taken}, **{t: row[c] for t, c in columns.items()}}
    if isinstance(row, Cells):
        named = Cells(named).values_by_field()
    return record_of({plain(k, "a name"): plain(v, k) for k, v in named.items()})


def _rows(source: Any) -> Iterator[Row]:
    """Every row with words for where it stands."""
    if isinstance(source, str | Path):
        yield from _named_rows(source)
    elif isinstance(source, Mapping):
        raise FeedbackError(
            f"the {type(source).__name__} is no list of rows: give one of its parts, {sorted(map(str, source))}"
        )
    elif isinstance(source, Iterable) or hasattr(source, "__getitem__"):
        arrow = type(source).__module__.startswith("datasets.")
        for i, row in enumerate(source):
            yield f"record {i + 1}", without_nones(row) if arrow else row
    else:
        raise FeedbackError(f"can't read feedback from a {type(source).__name__}: give a path, a dataset or rows")


def _named_rows(source: str | Path) -> Iterator[Row]:
    path = Path(source)
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    try:
        there = path.is_file()
    except OSError as error:
        raise FeedbackError(f"can't read {short(str(source))}: {error.strerror or error}") from error
    if there:
        yield from file_rows(path, kind)
    elif path.is_dir():
        yield from folder_rows(path)
    elif kind in SUFFIXES or path.is_absolute() or str(source).startswith("."):
        raise FeedbackError(f"no file at {source}: check the path")
    else:
        yield from hub_rows(str(source))


def _explain(error: BadField | ValidationError) -> str:
    if isinstance(error, BadField):
        return str(error)
    first = error.errors()[0]
    return f"field {'.'.join(map(str, first['loc'])) or 'record'!r}: {first['msg'].removeprefix('Value error, ')}"


def _split_key(record: AnyRecord, by: str) -> str:
    if by == "prompt":
        return prompt_key(record.prompt)
    if by not in record.columns:
        raise FeedbackError(f"can't split by column {by!r}: a record has only {sorted(record.columns)}")
    return str(record.columns[by])


def _unit(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"
