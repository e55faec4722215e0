"""How far a curation is, on disk, so that it goes on wherever it was killed."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.engine.run import disk, read_json, write_json
from accord.errors import RunError, wanted


@dataclass(frozen=True)
class Made:
    """A part as it is written: how many comparisons were read for it, its lines, and its account."""

    read: int
    lines: bytes
    account: dict[str, dict[str, int]]


@dataclass
class Ledger:
    """How far a curation is, on disk: what is written whole, and what became of it.

    Attributes:
        out: the file in the end. began: what the result depends on. records: comparisons read whose lines are written. bytes: of those lines.
        account: as `accord.feedback.account` has it.
    """

    out: Path
    began: dict[str, Any] = field(default_factory=dict)
    records: int = 0
    bytes: int = 0
    account: dict[str, dict[str, int]] = field(default_factory=dict)
    finished: bool = False

    @classmethod
    def open(cls, out: Path, *, resume: bool) -> "Ledger":
        """A new one, or the one that is there; raises RunError where that isn't wanted."""
        wanted(out.suffix == ".jsonl", "a curated file ends in .jsonl", out)
        with disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        ledger = cls(out)
        if not ledger.file.is_file():
            if out.exists():
                raise RunError(f"{out} is there already: give another --out")
            return ledger
        if not resume:
            raise RunError(f"{ledger.file} tells of a curation: go on with --resume, or give another --out")
        told = read_json(ledger.file, mend="delete it with its .part, and curate anew")
        for name in ("began", "records", "bytes", "account", "finished"):
            setattr(ledger, name, told[name])
        # killed between giving the file its name and the note of it
        named = out.is_file() and not ledger.beside("part").exists() and out.stat().st_size == ledger.bytes
        ledger.finished = ledger.finished or named
        return ledger

    @property
    def file(self) -> Path:
        return self.out.with_suffix(".account.json")

    def beside(self, what: str) -> Path:
        """A file that is there only while this goes on."""
        return self.out.with_name(f".{self.out.name}.{what}")

    def check(self, began: dict[str, Any]) -> None:
        """Raise RunError where it began with something else; note what it begins with."""
        odd = sorted(
            k for k in {*began, *self.began} if self.began and self.began.get(k) != json.loads(json.dumps(began.get(k)))
        )
        if odd:
            raise RunError(f"{self.file} began with another {odd[0]}: go on as it began, or give another --out")
        self.began = began
        self._note()

    @contextlib.contextmanager
    def appending(self) -> Iterator[Callable[[Made], None]]:
        """Writes parts behind what is written whole: first the lines, then the note of them."""
        part = self.beside("part")
        if not self.bytes:
            part.unlink(missing_ok=True)
        elif not part.is_file() or part.stat().st_size < self.bytes:
            raise RunError(f"{part} is damaged: delete {self.file}, and curate anew")
        with disk(self.out), part.open("ab") as file:
            file.truncate(self.bytes)

            def write(made: Made) -> None:
                file.write(made.lines)
                file.flush()
                os.fsync(file.fileno())
                self.records += made.read
                self.bytes += len(made.lines)
                for name, reasons in made.account.items():
                    total = self.account.setdefault(name, {})
                    for why, n in reasons.items():
                        total[why] = total.get(why, 0) + n
                self._note()

            yield write

    def finish(self) -> None:
        """Give the file its name."""
        with disk(self.out):
            os.replace(self.beside("part"), self.out)
        self.finished = True
        self._note()

    def _note(self) -> None:
        write_json(self.file, {k: getattr(self, k) for k in ("began", "records", "bytes", "account", "finished")})
