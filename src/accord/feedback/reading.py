"""Reading feedback from what people have: files, hub datasets, objects in memory. A bad record is named exactly."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from accord.errors import FeedbackError
from accord.feedback.records import AnyRecord, Comparison, Ranking, Record, comparisons_of, prompt_key
from accord.feedback.shapes import BadField, record_of

R = TypeVar("R", bound=Record)
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Feedback(Sequence[AnyRecord]):
    """Records in order, and what was skipped on the way."""

    records: tuple[AnyRecord, ...]
    skipped: tuple[str, ...] = field(default=())

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
        source: path of a .jsonl, .json, .csv, .tsv or .parquet file (.gz too), name of a hub dataset
            (``org/name`` or ``org/name:split``), a `datasets` object, or any iterable of rows or records.
        columns: for each field accord should find, the name of the column that holds it.
        skip_bad: leave malformed records out (they are listed in `skipped`) instead of raising.
        limit: read at most so many records.

    Raises:
        FeedbackError: names the file, line and field of the first malformed record.
    """
    skipped: list[str] = []
    records = tuple(stream(source, columns=columns, skipped=skipped if skip_bad else None, limit=limit))
    if not records:
        why = f"all {len(skipped)} records are malformed, the first: {skipped[0]}" if skipped else "it is empty"
        raise FeedbackError(f"no feedback in {_name(source)}: {why}")
    return Feedback(records, tuple(skipped))


def stream(source: Any, *, columns: Mapping[str, str] | None = None, skipped: list[str] | None = None,
           limit: int | None = None) -> Iterator[AnyRecord]:  # fmt: skip
    """The records of a source one by one, for files larger than memory; see `read`.

    Args:
        skipped: a list that takes the messages of malformed records; None raises at the first.
    """
    name, count = _name(source), 0
    for where, row in _rows(source):
        if limit is not None and count >= limit:
            return
        try:
            record = _record(row, columns)
        except (BadField, ValidationError) as error:
            message = f"{name}, {where}: {_explain(error)}"
            if skipped is None:
                raise FeedbackError(f"{message} (--skip-bad leaves such records out)") from None
            skipped.append(message)
            continue
        count += 1
        yield record


def _record(row: Any, columns: Mapping[str, str] | None) -> AnyRecord:
    if isinstance(row, Record):
        return row  # type: ignore[return-value]
    if isinstance(row, BadField):
        raise row
    if not isinstance(row, Mapping):
        raise BadField("", f"a record wants named fields, but is a {type(row).__name__}")
    if columns:
        for target, column in columns.items():
            if column not in row:
                raise BadField(column, f"is missing (asked for as {target}); the row has {sorted(row)}")
        taken = set(columns.values())
        row = {**{k: v for k, v in row.items() if k not in taken}, **{t: row[c] for t, c in columns.items()}}
    return record_of(row)


def _rows(source: Any) -> Iterator[tuple[str, Any]]:
    """Every row with words for where it stands."""
    if isinstance(source, str | Path):
        path = Path(source)
        kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
        if path.is_file():
            yield from _file_rows(path, kind)
        elif kind in SUFFIXES or path.is_absolute() or str(source).startswith("."):
            raise FeedbackError(f"no file at {source}: check the path")
        else:
            yield from _hub_rows(str(source))
    elif isinstance(source, Iterable):
        for i, row in enumerate(source):
            yield f"record {i + 1}", row
    else:
        raise FeedbackError(f"can't read feedback from a {type(source).__name__}: give a path, a dataset or rows")


def _file_rows(path: Path, kind: str) -> Iterator[tuple[str, Any]]:
    if kind == ".parquet":
        yield from _parquet_rows(path)
        return
    if kind not in SUFFIXES:
        raise FeedbackError(
            f"{path}: can't tell its format from {kind or 'no ending'}; wanted {', '.join(SUFFIXES)} (or .gz of these)"
        )
    try:
        opened: Any = (  # closed by the with below
            gzip.open(path, "rt", encoding="utf-8")  # noqa: SIM115
            if path.suffix == ".gz"
            else path.open(encoding="utf-8", newline="")
        )
        with opened as lines:
            if kind == ".jsonl":
                yield from _json_lines(lines)
            elif kind == ".json":
                yield from _json_rows(path, lines)
            else:
                rows = csv.DictReader(lines, delimiter="\t" if kind == ".tsv" else ",")
                for row in rows:
                    yield f"line {rows.line_num}", {k: _cell(v) for k, v in row.items() if k is not None}
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise FeedbackError(f"{path} can't be read as UTF-8 text: {error}") from error


def _json_lines(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                yield f"line {number}", BadField("", f"is not JSON: {error.msg} at column {error.colno}")


def _json_rows(path: Path, lines: io.TextIOBase) -> Iterator[tuple[str, Any]]:
    try:
        whole = json.load(lines)
    except json.JSONDecodeError as error:
        raise FeedbackError(f"{path}, line {error.lineno}: is not JSON: {error.msg}") from None
    if isinstance(whole, Mapping):
        lists = [v for v in whole.values() if isinstance(v, list)]
        whole = lists[0] if len(lists) == 1 else [whole]
    for i, row in enumerate(whole):
        yield f"record {i + 1}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except pyarrow.ArrowException as error:
        raise FeedbackError(f"{path} is not a parquet file: {error}") from error


def _hub_rows(name: str) -> Iterator[tuple[str, Any]]:
    import datasets

    repository, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(repository, split=split or "train", streaming=True)
        for i, row in enumerate(rows):
            yield f"row {i + 1}", row
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        first = str(error).strip().splitlines()[0]
        raise FeedbackError(f"no file and no hub dataset called {name}: {first}") from error


def _cell(text: str | None) -> Any:
    """A CSV cell: JSON where it is some (messages, numbers, true), else the text; empty is missing."""
    if text is None or text == "":
        return None
    if text[0] in "[{" or text in ("true", "false"):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text


def _explain(error: BadField | ValidationError) -> str:
    if isinstance(error, BadField):
        return str(error)
    first = error.errors()[0]
    return f"field {'.'.join(map(str, first['loc'])) or 'record'!r}: {first['msg']}"


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
