"""Comparisons from file to file through curators: a part at a time, so that a million take no more memory than a thousand, and killed anywhere
it goes on where it was."""

import contextlib
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from accord.engine.workers import check_workers, mapped
from accord.errors import FeedbackError, RunError, wanted
from accord.feedback import Comparison, Ranking, account, as_conversation, comparisons_of, dropped, stream, usable
from accord.feedback.cleaning import Cleaning, Seen, key_of
from accord.rewards.curators import Curator, Prepared
from accord.rewards.ledger import Ledger, Made

T = TypeVar("T")

BY = "cleaning"
SAMPLE, PART = 10_000, 1_000


@dataclass
class Source:
    """Comparisons that can be read again and again, those within rankings too.

    Attributes:
        data, columns, limit: as for `accord.feedback.read`. chat: text prompts become a user's message. skip_bad: leave out malformed records, and
            those that compare nothing. left: how many the last reading left out, by reason; the first of malformed ones is told with it.
    """

    data: Any
    columns: Mapping[str, str] | None = None
    skip_bad: bool = False
    limit: int | None = None
    chat: bool = False
    left: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Comparison]:
        self.left, malformed = Counter(), _Tally()
        skipped = malformed if self.skip_bad else None
        for number, record in enumerate(stream(self.data, columns=self.columns, skipped=skipped, limit=self.limit), 1):
            if isinstance(record, Comparison | Ranking):
                known = as_conversation(record) if self.chat else record
                yield from [known] if isinstance(known, Comparison) else comparisons_of(known)
                continue
            why = f"{type(record).__name__.lower()}s compare nothing"
            if not self.skip_bad:
                name = self.data if isinstance(self.data, str | Path) else f"the {type(self.data).__name__}"
                raise FeedbackError(f"{name}, record {number}: {why} (--skip-bad leaves such records out)")
            self.left[why] += 1
        if malformed:
            self.left[f"malformed, the first: {malformed[0]}"] = malformed.total


class _Tally(list[str]):
    """Keeps the first that it is given, and counts."""

    total = 0

    def append(self, message: str) -> None:
        self.total += 1
        if not self:
            super().append(message)


def curate(source: Iterable[Any], out: str | Path, curators: Sequence[Curator] = (), *, cleaning: Cleaning | None = Cleaning(),
           sample: int = SAMPLE, part: int = PART, workers: int = 0, seed: int = 0, resume: bool = False,
           began: Mapping[str, Any] | None = None, tick: Callable[[int], object] = lambda n: None) -> dict[str, Any]:  # fmt: skip
    """Clean comparisons, pass them through curators in order, and write all of them with what was done to each; returns the account: how many records
    each curator kept, flipped and dropped, and why.

    What is dropped stays in the file with that status, and no curator after sees it. OUT.account.json says how far it is; what was written before it
    was killed stays, and the finished file is the same to the bit.

    Args:
        source: comparisons, rankings, or a `Source`; read twice, so no iterator: for duplicates and a sample, then part by part. out: a .jsonl file.
        cleaning: what is dropped first, with duplicates; None for nothing. sample: comparisons that curators are prepared with, drawn by chance from
            all. part: comparisons at once. workers: as for `accord.engine.workers.mapped`.
        began: whatever else the result depends on, as JSON; a curation that goes on must have begun with the same.

    Raises:
        FeedbackError: there are no comparisons, one can't be written as JSON, or a curator does not say of each what becomes of it.
        RunError: `out` is there already, or holds what another curation began; or the source has changed between both looks.
    """
    wanted(sample >= 1 and part >= 1, "sample and part must be at least 1", (sample, part))
    told = source if isinstance(source, Source) else Source(source)
    wanted(
        not isinstance(told.data, Iterator),
        "comparisons are read twice: give a list or a Source, not what can be read once",
        told.data,
    )
    check_workers(workers)
    ledger = Ledger.open(Path(out), resume=resume)
    seen = Seen(ledger.beside("seen"))
    try:
        survey = Survey.of(told, cleaning, seen, sample, part, seed)
        if told.left:
            ledger.account["reading: left out"] = dict(told.left)
        ledger.check({**(began or {}), "data": survey.fingerprint, "cleaning": cleaning and cleaning.fingerprint, "part": part, "sample": sample,
                      "seed": seed})  # fmt: skip
        if ledger.finished:
            return ledger.account
        _prepare(curators, survey.sample, part)
        door = Door(cleaning, seen)
        parts = _parts(enumerate(door(told), 1), part, skip=ledger.records)
        tick(ledger.records)
        with ledger.appending() as write:
            for made in mapped(Through(tuple(curators)), parts, workers):
                write(made)
                tick(made.read)
    finally:
        seen.close()
        ledger.beside("seen").unlink(missing_ok=True)
    if ledger.records != survey.count:
        raise RunError(
            f"{out} would have {ledger.records} of {survey.count} comparisons: the source has changed meanwhile"
        )
    ledger.finish()
    return ledger.account


def _prepare(curators: Sequence[Curator], some: list[Comparison], part: int) -> None:
    """Show the sample to those who want to see one, as those before them leave it."""
    done = 0
    for i, curator in enumerate(curators):
        if isinstance(curator, Prepared):
            with _among(f"the sample of {len(some)} comparisons"):
                some = [p for now in _parts(some, part) for p in usable(passed(curators[done:i], now))]
                curator.prepare(some)
            done = i


@contextlib.contextmanager
def _among(these: str) -> Iterator[None]:
    """Those who look at a part count within it: an error says what it is a part of."""
    try:
        yield
    except FeedbackError as error:
        raise FeedbackError(f"among {these}: {error}") from error


def passed(curators: Sequence[Curator], part: Sequence[Comparison]) -> list[Comparison]:
    """A part through curators; raises FeedbackError where one loses a comparison."""
    now = list(part)
    for curator in curators:
        some = usable(now)
        became = list(curator(some))
        if len(became) != len(some) or not all(became):
            raise FeedbackError(f"{type(curator).__name__} got {len(some)} comparisons, but does not say of each what becomes of it: "
                                "what is not to be learned from is `dropped`, never left out")  # fmt: skip
        left = iter(became)
        now = [x for p in now for x in ([p] if p.provenance.status == "dropped" else next(left))]
    return now


def _line(pair: Comparison, name: str = "a comparison") -> str:
    try:
        return pair.model_dump_json(exclude_defaults=True) + "\n"
    except ValueError as error:
        raise FeedbackError(f"{name} can't be written as JSON: {error}") from error


@dataclass(frozen=True)
class Survey:
    """What the first look at all comparisons tells.

    Attributes:
        fingerprint: of all of them in their order, with all that they hold. count: of all. sample: some that are not dropped at the door, in their order.
    """

    fingerprint: str
    count: int
    sample: list[Comparison]

    @classmethod
    def of(
        cls, source: Iterable[Comparison], cleaning: Cleaning | None, seen: Seen, size: int, part: int, seed: int
    ) -> "Survey":
        door, kept, whole, count = Door(cleaning, seen), _Reservoir(size, seed), hashlib.blake2b(digest_size=16), 0
        for some in _parts(enumerate(source, 1), part):
            left = [(number, pair) for number, pair in some if pair.provenance.status != "dropped"]
            seen.add([(key_of(pair), number) for number, pair in left])
            count += len(some)
            for number, pair in some:
                whole.update(_line(pair, f"comparison {number}").encode())
            for number, pair in left:
                if door.why(number, pair) is None:
                    kept.add(number, pair)
        if not kept.count:
            raise FeedbackError(
                "there are no comparisons to curate: the source is empty, or all of them are dropped at the door"
            )
        return cls(whole.hexdigest(), count, kept.ordered())


class _Reservoir:
    """So many of a stream, each equally likely (Vitter's algorithm R)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.count, self.random = size, 0, Random(f"sample:{seed}")
        self.held: list[tuple[int, Comparison]] = []

    def add(self, number: int, pair: Comparison) -> None:
        self.count += 1
        if len(self.held) < self.size:
            self.held.append((number, pair))
        elif (place := self.random.randrange(self.count)) < self.size:
            self.held[place] = (number, pair)

    def ordered(self) -> list[Comparison]:
        return [pair for _, pair in sorted(self.held, key=lambda held: held[0])]


@dataclass(frozen=True)
class Door:
    """Drops what says nothing, was said before, or gives a test away."""

    cleaning: Cleaning | None
    seen: Seen

    def why(self, number: int, pair: Comparison) -> str | None:
        if self.cleaning is None:
            return None
        return self.cleaning(pair) or ("a duplicate" if self.seen.first(key_of(pair)) < number else None)

    def __call__(self, source: Iterable[Comparison]) -> Iterator[Comparison]:
        for number, pair in enumerate(source, 1):
            why = None if pair.provenance.status == "dropped" else self.why(number, pair)
            yield pair if why is None else dropped(pair, why, BY)


@dataclass(frozen=True)
class Through:
    """A part through all curators."""

    curators: tuple[Curator, ...]

    def __call__(self, part: Sequence[tuple[int, Comparison]]) -> Made:
        with _among(f"comparisons {part[0][0]} to {part[-1][0]}"):
            now = passed(self.curators, [pair for _, pair in part])
            return Made(len(part), "".join(map(_line, now)).encode(), account(now))


def _parts(pairs: Iterable[T], size: int, skip: int = 0) -> Iterator[list[T]]:
    left = itertools.islice(pairs, skip, None)
    while some := list(itertools.islice(left, size)):
        yield some
