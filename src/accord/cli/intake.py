"""What becomes of every record that a command reads: used, or left out and why. Nothing vanishes uncounted."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from accord.cli.data import say
from accord.errors import ConfigError, FeedbackError
from accord.feedback import (
    Comparison,
    Feedback,
    Ranking,
    Rating,
    Record,
    as_conversation,
    comparisons_of,
    notes_of,
    picture_key,
    read,
    text_of_completion,
)
from accord.rewards.curators import Synthesis

Verdict = Callable[[Any], str | None]
"""Of a record: why it is left out, or None."""

Answers = Callable[[Any], Sequence[Any]]
"""Those answers of a record that are looked at."""


@dataclass
class Intake:
    """The account of one source.

    Attributes:
        source: its name. records: what was read. skip_bad: whether what can't be used is left out, or an error.
        left: how many were left out, by kind and reason; first: where the first of them stands.
        used: how many are used for what.
    """

    source: str
    records: Feedback
    skip_bad: bool = False
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, source: Any, columns: dict[str, str] | None = None, skip_bad: bool = False, limit: int | None = None,
             chat: bool = False, name: str | None = None) -> "Intake":  # fmt: skip
        """Read feedback, of a source that may have a name; raises FeedbackError at a malformed record, unless those are to be skipped."""
        found = read(source, columns=columns, skip_bad=skip_bad, limit=limit)
        intake = cls(name or str(source), found, skip_bad)
        if chat:
            intake.change(as_conversation)
        if found.skipped:
            intake.left["record", "malformed"] = len(found.skipped)
            intake.first["record", "malformed"] = found.skipped[0].removeprefix(f"{source}, ")
        return intake

    def change(self, by: Callable[[Any], Any]) -> None:
        """Put other records in the places of those that were read."""
        self.records = Feedback(tuple(by(r) for r in self.records), self.records.skipped, self.records.places)
        self.__dict__.pop("_places", None)

    def narrow(self, aspect: str | None) -> Verdict:
        """Ratings by one aspect alone ("overall", or the first one's first, if None); leaves out those that lack it.

        Raises:
            ConfigError: an aspect of nothing is asked for.
        """
        names = [name for r in self.records.of(Rating) for name in r.aspects]
        if aspect is not None and aspect not in names:
            raise ConfigError(f"aspect={aspect!r}: {self.source} rates {', '.join(dict.fromkeys(names)) or 'nothing'}")
        chosen = aspect or ("overall" if "overall" in names else names[0] if names else "")

        def narrowed(record: Any) -> Any:
            if not isinstance(record, Rating) or chosen not in record.aspects:
                return record
            return record.model_copy(update={"aspects": {chosen: record.aspects[chosen]}})

        self.change(narrowed)
        return lambda r: f"not rated by {chosen}" if isinstance(r, Rating) and chosen not in r.aspects else None

    @cached_property
    def _places(self) -> dict[int, str]:
        return dict(zip(map(id, self.records.records), self.records.places, strict=False))

    def place(self, record: Record) -> str:
        """Where a record stands in its source."""
        return self._places.get(id(record), "")

    def sift(self, records: Iterable[Any], *verdicts: Verdict, purpose: str = "use") -> Feedback:
        """The records that no verdict leaves out; raises FeedbackError where none is left."""
        kept = []
        for record in records:
            why = next((w for v in (curated_away, *verdicts) if (w := v(record)) is not None), None)
            if why is None:
                kept.append(record)
            else:
                self._leave_out(kind_of(record), why, self.place(record))
        if not kept:
            why = self._left() or "there was none"
            if columns := sorted(self.records[0].columns):
                why += f"; its columns are {', '.join(columns)} (--columns.chosen=… and the like name yours)"
            raise FeedbackError(f"{self.source}: no record is left to {purpose}: {why}")
        return Feedback(tuple(kept))

    def _leave_out(self, kind: str, why: str, place: str) -> None:
        self.left[kind, why] += 1
        self.first.setdefault((kind, why), place)

    def pairs(self, records: Iterable[Any]) -> list[Comparison]:
        """All comparisons, and those within rankings; but for two answers that are the same."""
        made: list[Comparison] = []
        for record in records:
            if isinstance(record, Comparison):
                made.append(record)
            elif isinstance(record, Ranking):
                for pair in comparisons_of(record):
                    if (why := no_preference(pair)) is None:
                        made.append(pair)
                    else:
                        self._leave_out("pair", f"within a ranking, {why}", self.place(record))
        return made

    def tell(self, **used: int) -> None:
        """Say it, in one line on stderr.

        Args:
            used: how many records are used for what.
        """
        self.used = used
        kinds = Counter(kind_of(r) for r in self.records)
        total = len(self.records) + len(self.records.skipped)
        read = f"read {count(total, 'record')}: " + ", ".join(count(n, k) for k, n in kinds.items())
        left = self._left()
        used_for = ", ".join(f"{n} {k.replace('_', ' ')}" for k, n in used.items())
        say(f"{read}; {f'left out {left}' if left else 'none left out'}; used {used_for}")

    def row(self) -> dict[str, Any]:
        """The same for result.json."""
        return {
            "read": dict(Counter(kind_of(r) for r in self.records)) | {"malformed": len(self.records.skipped)},
            "left_out": [
                {"kind": k, "why": w, "count": n, "first": self.first[k, w]} for (k, w), n in self.left.items()
            ],
            "used": self.used,
        }

    def _left(self) -> str:
        parts = []
        for (kind, why), n in self.left.items():
            first = self.first[kind, why]
            parts.append(f"{count(n, kind)} ({why}{f'; the first: {first}' if first else ''})")
        return ", ".join(parts)


def kind_of(record: Any) -> str:
    return type(record).__name__.lower()


def count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def answers_of(record: Any) -> Sequence[Any]:
    """The completions that a record holds."""
    if isinstance(record, Comparison):
        return record.chosen, record.rejected
    if isinstance(record, Ranking):
        return record.completions
    return (record.completion,) if hasattr(record, "completion") else ()


def first_answer(record: Any) -> Sequence[Any]:
    """The one to imitate: an example's, or the chosen one."""
    return answers_of(record)[:1]


def of_kind(kinds: tuple[type, ...], learner: str) -> Verdict:
    """Leaves out records of other kinds: a learner ("dpo learns from") can do nothing with them."""
    wanted = " or ".join(f"{k.__name__.lower()}s" for k in kinds)
    return lambda r: None if isinstance(r, kinds) else f"{learner} {wanted}"


def curated_away(record: Any) -> str | None:
    """Leaves out what curation dropped."""
    gone = isinstance(record, Record) and record.provenance.status == "dropped"
    return "dropped by curation" if gone else None


def made_up(record: Any) -> str | None:
    """Leaves out what curation made: nobody gave it a label."""
    made = isinstance(record, Record) and any(note["by"] == Synthesis.BY for note in notes_of(record))
    return "made by curation, judged by nobody" if made else None


def no_preference(record: Any) -> str | None:
    """Answers of which none can be better than another."""
    if isinstance(record, Comparison | Ranking) and len({picture_key(a) for a in answers_of(record)}) == 1:
        return "its answers are the same"
    if isinstance(record, Ranking) and record.scores is not None and record.scores[0] == record.scores[-1]:
        return "its answers are rated the same"
    return None


def says_something(answers: Answers = answers_of) -> Verdict:
    """Leaves out records with an answer that says nothing: no text, no tool call, no reasoning."""

    def empty(answer: Any) -> bool:
        plain = isinstance(answer, str) or (isinstance(answer, dict) and answer.keys() <= {"role", "content", "name"})
        return plain and not text_of_completion(answer).strip()

    return lambda record: "an answer is empty" if any(map(empty, answers(record))) else None
