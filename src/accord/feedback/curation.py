"""What curation did to a record, and why: written into the record itself, so that nothing is lost and all can be told."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from accord.errors import FeedbackError
from accord.feedback.records import Comparison, Provenance, Record

R = TypeVar("R", bound=Record)


def kept(record: R, why: str, by: str, **more: Any) -> R:
    """The record as it is, with a note of who kept it and why, and of what stood where it was edited: ``was={field: value}``."""
    return _noted(record, record.provenance.status, "kept", why, by, more)


def flipped(record: Comparison, why: str, by: str, **more: Any) -> Comparison:
    """The opposite verdict, its columns of each side with it; flipped twice, a record is as it was but for its notes."""
    back = record.provenance.status == "flipped"
    return _noted(record.flipped(), "kept" if back else "flipped", "flipped", why, by, more)


def dropped(record: R, why: str, by: str, **more: Any) -> R:
    """Not to be learned from; it stays in the file."""
    return _noted(record, "dropped", "dropped", why, by, more)


def notes_of(record: Record) -> list[dict[str, Any]]:
    """Everything that was done to it, in order: {"did", "why", "by", …}."""
    return list((record.provenance.model_extra or {}).get("notes", ()))


def usable(records: Sequence[R]) -> list[R]:
    """Those that were not dropped."""
    return [r for r in records if r.provenance.status != "dropped"]


def account(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """How many records each curator kept, flipped and dropped, with its reasons: {"voting: flipped": {"weak": 12}}."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        for note in notes_of(record):
            found.setdefault(f"{note['by']}: {note['did']}", Counter())[note["why"]] += 1
    return {name: dict(reasons) for name, reasons in sorted(found.items())}


def original(record: Comparison) -> Comparison:
    """A comparison as it was before curation, without its notes: a note's `before` holds the columns that were set then, as they had been (None: not there),
    its `was` the fields that were edited."""
    was = record
    for note in reversed(notes_of(record)):
        before = note.get("before", {})
        columns = {k: v for k, v in (was.columns | before).items() if v is not None or k not in before}
        was = was.model_copy(update={**note.get("was", {}), "columns": columns})
        was = was.flipped() if note["did"] == "flipped" else was
    bare = {k: v for k, v in was.provenance.model_dump().items() if k not in ("notes", "status")}
    return was.model_copy(update={"provenance": Provenance(**bare)})


def _noted(record: R, status: str, did: str, why: str, by: str, more: dict[str, Any]) -> R:
    if not why or not by:
        raise FeedbackError("curation says why it did something, and who it is")
    note = {"did": did, "why": why, "by": by, **more}
    provenance = record.provenance.model_copy(update={"status": status, "notes": [*notes_of(record), note]})
    return record.model_copy(update={"provenance": provenance})
