"""What several arms and systems share for a seed is made once: feedback, reward models, log-probs of a reference."""

import contextlib
import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TypeVar

from torch import Tensor

from accord.engine.run import load_tensors, new_folder, save_tensors, write_text
from accord.engine.seeds import seeded
from accord.engine.store import cache_folder
from accord.feedback import Comparison
from accord.policies.meter import metered
from accord.reproduce.course import course
from accord.reproduce.source import source_hash

T = TypeVar("T")

_source = cache(source_hash)


def kept(
    name: str, seed: int, make: Callable[[], T], save: Callable[[T, Path], object], load: Callable[[Path], T]
) -> T:
    """What `make` makes, read from disk if it was made before by the same code, in this process or another.

    Its compute is nobody's, its draws leave the arm's alone, and what is returned has always been read from disk: an arm
    comes out the same whether or not it is the first to ask.

    Args:
        name: what it is, with every setting that it depends on.
        make: a function, whose module leads to all code that it runs through.
        save: writes it into an empty folder. load: reads it from there.
    """
    if not isinstance(make, FunctionType):
        raise TypeError(f"kept wants a function, whose module it can hash, not a {type(make).__name__}")
    key = hashlib.sha256(f"{name} {seed} {_source(make.__module__)}".encode()).hexdigest()[:16]
    folder = cache_folder() / "reproduce" / "shared" / f"{seed}-{key}"
    if not folder.is_dir():
        with alone(folder), metered(), course(), seeded(seed, purpose=name):
            if not folder.is_dir():  # nobody else made it while we waited
                with new_folder(folder) as part:
                    save(make(), part)
    return load(folder)


def save_comparisons(records: Sequence[Comparison], folder: Path) -> None:
    """Comparisons of texts or of pictures as tensors, exactly."""
    sides = {f"{i}.{side}": getattr(r, side) for i, r in enumerate(records) for side in ("chosen", "rejected")}
    pictures = {name: x.clone() for name, x in sides.items() if isinstance(x, Tensor)}
    bare = [r.model_copy(update=dict.fromkeys(("chosen", "rejected"), "")) if pictures else r for r in records]
    write_text(folder / "records.jsonl", "".join(r.model_dump_json(exclude_defaults=True) + "\n" for r in bare))
    save_tensors(folder / "pictures.safetensors", pictures)


def load_comparisons(folder: Path) -> list[Comparison]:
    """What `save_comparisons` wrote."""
    bare = [Comparison.model_validate_json(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    pictures = load_tensors(folder / "pictures.safetensors")
    if not pictures:
        return bare
    sides = ("chosen", "rejected")
    return [r.model_copy(update={side: pictures[f"{i}.{side}"] for side in sides}) for i, r in enumerate(bare)]


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time is inside for a path; another waits. A killed one lets the next in."""
    with _open(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def alone_or_not(path: Path) -> Iterator[bool]:
    """As `alone`, but who would have to wait is told False instead."""
    with _open(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    """The file that is locked for a path. The system lets it go with the process: no lock outlives who held it."""
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        yield file.fileno()
