"""What is dropped before anybody looks at it: comparisons that say nothing, say what another says, or give a test away."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from accord.errors import FeedbackError, RunError, wanted
from accord.feedback.messages import Prompt, picture_key, pictures_of, prompt_key, text_of, text_of_completion
from accord.feedback.records import Comparison

GRAMS = 13
"""Words in a row that a prompt of the test shares with nobody by chance."""


class Seen:
    """Where each comparison stood first, in a file: memory stays what it is, however many there are."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.unlink(missing_ok=True)
        with self._room():
            self._db = sqlite3.connect(file)
            self._db.executescript("pragma journal_mode = off; pragma synchronous = off; "
                                   "create table seen (key blob primary key, first integer) without rowid")  # fmt: skip

    def add(self, keys: Iterable[tuple[bytes, int]]) -> None:
        """Note where these stand, unless they stood somewhere before."""
        with self._room():
            self._db.executemany("insert or ignore into seen values (?, ?)", keys)

    def first(self, key: bytes) -> int:
        """Where it stood first; raises FeedbackError for what was never added."""
        with self._room():
            found = self._db.execute("select first from seen where key = ?", (key,)).fetchone()
        if found is None:
            raise FeedbackError("comparisons have changed since they were looked at first: curate them anew")
        return int(found[0])

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(f"can't write to {self._file}: {error}; free some room, or give another --out") from error

    def close(self) -> None:
        self._db.close()


class Cleaning:
    """Why a comparison is dropped, if it is.

    Args:
        tests: prompts that nothing may be learned from: whatever shares `grams` words in a row with one of them is dropped (of a shorter prompt,
            all its words). A text and a conversation that say the same are the same, whatever its system message.
    """

    def __init__(self, tests: Iterable[Prompt] = (), *, grams: int = GRAMS) -> None:
        wanted(grams >= 1, "grams must be at least 1", grams)
        self.grams = grams
        self._given_away = {g for prompt in tests for g in self._runs(prompt)}

    @property
    def fingerprint(self) -> str:
        """Of what it drops."""
        told = f"{self.grams}:{sorted(self._given_away)}"
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def __call__(self, pair: Comparison) -> str | None:
        sides = (pair.chosen, pair.rejected)
        if any(isinstance(s, str) and not text_of_completion(s).strip() for s in sides):
            return "an answer is empty"
        if len({picture_key(s) for s in sides}) == 1:
            return "its answers are the same"
        if self._given_away and not self._given_away.isdisjoint(self._runs(pair.prompt)):
            return "its prompt is one of the test's"
        return None

    def _runs(self, prompt: Prompt) -> Iterator[int]:
        words = words_of(prompt)
        for i in range(max(1, len(words) - self.grams + 1)):
            yield hash_of(words[i : i + self.grams])


def words_of(prompt: Prompt) -> list[str]:
    """What a prompt shows and says, whoever says it, without its system message."""
    said = [prompt] if isinstance(prompt, str) else [text_of([m]) for m in prompt if m["role"] != "system"]
    return " ".join([*map(picture_key, pictures_of(prompt)), *(said or [text_of(prompt)])]).lower().split()


def hash_of(words: Sequence[str]) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(words).encode(), digest_size=8).digest(), "little")


def key_of(pair: Comparison) -> bytes:
    """Equal for comparisons that say the same: of one prompt, the same answer over the same other one."""
    text = "\x1d".join((prompt_key(pair.prompt), picture_key(pair.chosen), picture_key(pair.rejected)))
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
