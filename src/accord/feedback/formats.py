"""Files to rows: each row with words for where it stands; a row that can't be read is a `BadField` in its place."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from accord.errors import FeedbackError
from accord.feedback.fields import BadField

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
TEXTS = ("prompt", "chosen", "rejected", "completion", "response", "instruction")

Row = tuple[str, Any]


class Cells(dict[str, str | None]):
    """A row of a table without types: everything is text, and what is empty is missing."""

    def values_by_field(self) -> dict[str, Any]:
        return {k: _cell(k, v) for k, v in self.items()}


def file_rows(path: Path, kind: str) -> Iterator[Row]:
    """The rows of a file, whose kind is one of `SUFFIXES`; raises FeedbackError where no more of it can be read."""
    if kind == ".parquet":
        yield from _parquet_rows(path)
        return
    if kind not in SUFFIXES:
        raise FeedbackError(
            f"{path}: can't tell its format from {kind or 'no ending'}; wanted {', '.join(SUFFIXES)} (or .gz of these)"
        )
    last = "its beginning"
    try:
        with _opened(path) as lines:
            for last, row in _text_rows(path, kind, lines):
                yield last, row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedbackError(f"{path} is damaged or cut short after {last}: {str(error).rstrip('.')}") from error
    except OSError as error:
        raise FeedbackError(f"can't read {path}: {error.strerror or error}") from error


def folder_rows(folder: Path) -> Iterator[Row]:
    """Pictures of a folder with their captions: as metadata.jsonl or metadata.csv tell (file_name and text, as `datasets` has
    it), else from the text file of each picture's name.

    Raises:
        FeedbackError: there are no pictures, or one has no caption.
    """
    table = next((p for kind in (".jsonl", ".csv") if (p := folder / f"metadata{kind}").is_file()), None)
    if table is not None:
        for where, row in file_rows(table, table.suffix):
            fields = row.values_by_field() if isinstance(row, Cells) else row
            named = fields.get("file_name") if isinstance(fields, Mapping) else None
            if isinstance(named, str):
                fields = {**{k: v for k, v in fields.items() if k != "file_name"}, "image": str(folder / named)}
            yield (
                f"{table.name}, {where}",
                fields if isinstance(named, str) else BadField("file_name", "names no picture"),
            )
        return
    pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not pictures:
        raise FeedbackError(
            f"{folder} is a folder without metadata.jsonl and without pictures: give a file, or a folder of pictures"
        )
    for p in pictures:
        caption = p.with_suffix(".txt")
        text = caption.read_text(encoding="utf-8-sig", errors="surrogateescape").strip() if caption.is_file() else ""
        yield (
            p.name,
            {"image": str(p), "caption": text}
            if text
            else BadField("caption", f"is missing: write it into {caption.name}"),
        )


def _opened(path: Path) -> TextIO:
    """A file as text. Bytes that are not UTF-8 come as lone surrogates, so that their row can be named."""
    unpack: Any = gzip.open if path.suffix == ".gz" else open
    with unpack(path, "rb") as raw:
        start = raw.read(2)
    if start in WIDE:
        raise FeedbackError(f"{path} is {WIDE[start]}, not UTF-8: save it as UTF-8")
    return unpack(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")


def _text_rows(path: Path, kind: str, lines: TextIO) -> Iterator[Row]:
    if kind == ".jsonl":
        return _json_lines(lines)
    return _json_rows(path, lines) if kind == ".json" else _table_rows(path, lines, "\t" if kind == ".tsv" else ",")


def _json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            row, problem, _ = _parsed(line)
            yield f"line {number}", row if problem is None else BadField("", problem)


def _json_rows(path: Path, lines: TextIO) -> Iterator[Row]:
    text = lines.read()
    if not text.strip():
        return
    whole, problem, line = _parsed(text)
    if problem is not None:
        hint = " (one record a line is .jsonl)" if "Extra data" in problem else ""
        raise FeedbackError(f"{path}, line {line}: the file {problem}{hint}")
    if isinstance(whole, Mapping):
        inside = [v for v in whole.values() if isinstance(v, list)]
        # {"data": [...]}; but a single record may hold a list as well.
        wrapped = len(inside) == 1 and not whole.keys() & {*TEXTS, "messages", "conversations"}
        whole = inside[0] if wrapped else [whole]
    if not isinstance(whole, list):
        raise FeedbackError(f"{path} holds {json.dumps(whole)[:40]}, but wants a list of records")
    for i, row in enumerate(whole):
        yield f"record {i + 1}", row


def _parsed(text: str) -> tuple[Any, str | None, int]:
    """What a text says as JSON, or else what is wrong with it, and in which line."""
    try:
        return json.loads(text), None, 0
    except json.JSONDecodeError as error:
        where = "not UTF-8" if error.doc[error.pos : error.pos + 1] >= "\udc80" else "not JSON"
        return None, f"is {where}: {error.msg} at column {error.colno}", error.lineno
    except RecursionError:
        return None, "is nested too deeply", 1
    except ValueError as error:  # an integer of thousands of digits
        return None, f"is not JSON that can be read: {str(error).split(';')[0]}", 1


def _table_rows(path: Path, lines: TextIO, delimiter: str) -> Iterator[Row]:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
    except csv.Error as error:
        raise FeedbackError(f"{path}, line {rows.line_num}: the header is no table: {error}") from error
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise FeedbackError(f"{path}, line 1: two columns are called {twice!r}")
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield f"line {rows.line_num}", BadField("", f"is no row of a table: {error} (is a quote left open?)")
            continue
        if cells is None:
            return
        where = f"line {rows.line_num}"
        if len(cells) > len(names):
            yield (
                where,
                BadField("", f"has {len(cells)} cells for {len(names)} columns: quote texts that hold the separator"),
            )
        elif cells:
            yield where, Cells(zip(names, [c or None for c in cells] + [None] * (len(names) - len(cells)), strict=True))


def _cell(field: str, text: str | None) -> Any:
    """JSON where a cell holds some and no text is wanted; messages are always meant."""
    if text is None or text[0] not in "[{":
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if field not in TEXTS:
        return found
    first = found[0] if isinstance(found, list) and found else found
    return found if isinstance(first, Mapping) and first.keys() & {"role", "from"} else text


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    number = 0
    try:
        batches = pyarrow.parquet.ParquetFile(path).iter_batches(1000)
        while (batch := next(batches, None)) is not None:
            for row in _arrow_rows(batch):
                number += 1
                yield f"row {number}", row
    except FeedbackError:
        raise
    except Exception as error:  # a damaged file makes pyarrow say anything
        raise FeedbackError(f"{path} is not a parquet file, or damaged after row {number}: {_first(error)}") from error


def _arrow_rows(batch: Any) -> list[Any]:
    try:
        return [without_nones(row) for row in batch.to_pylist()]
    except Exception as error:  # a text that is not UTF-8, a time beyond Python's
        if batch.num_rows == 1:
            return [BadField("", f"can't be read: {_first(error)}")]
        return [row for i in range(batch.num_rows) for row in _arrow_rows(batch.slice(i, 1))]


def without_nones(row: Mapping[str, Any]) -> dict[str, Any]:
    """Arrow gives every mapping within a column the keys of all others, as None: they were never there."""
    return {k: _inner(v) for k, v in row.items()}


def _inner(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _inner(v) for k, v in value.items() if v is not None}
    return [_inner(v) for v in value] if isinstance(value, list) else value


def hub_rows(name: str) -> Iterator[Row]:
    """The rows of a hub dataset, ``org/name`` or ``org/name:split``."""
    import datasets

    repository, _, split = name.partition(":")
    number = 0
    try:
        rows = iter(datasets.load_dataset(repository, split=split or "train", streaming=True))
        while (row := next(rows, None)) is not None:
            number += 1
            yield f"row {number}", without_nones(row)
    except Exception as error:  # what a hub, a network and a builder's own code can say
        what = (
            f"the hub dataset {name} can't be read after row {number}"
            if number
            else f"no file and no hub dataset called {name}"
        )
        raise FeedbackError(f"{what}: {_first(error)}") from error


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
