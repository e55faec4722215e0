"""A run's folder: what ran, its metrics, its checkpoints. Every write is whole or not at all."""

import contextlib
import errno
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.errors import RunError


@dataclass
class Run:
    """What `fit` returns: the metrics of every step, and where they lie on disk (None: nowhere).

    A folder holds run.json (options, versions, status), metrics.jsonl, checkpoints/ and what the caller adds.
    """

    folder: Path | None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Read a run back; raises RunError where there is none, or its files are damaged."""
        path = Path(folder)
        if not (path / "run.json").is_file():
            raise RunError(f"{folder} is not a run: it has no run.json (give the folder that was passed as --out)")
        return cls(path, *(_rows(path / name) for name in ("metrics.jsonl", "evaluations.jsonl")))

    def column(self, name: str) -> list[float]:
        return [m[name] for m in self.metrics if name in m]

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says."""
        mend = "put it back from a copy, or go on without it by --resume anyway"
        return read_json(self.folder / "run.json", mend=mend) if self.folder else {}


class Recorder:
    """Writes a run as it goes; a folder of None keeps everything in memory.

    Raises:
        RunError: the folder holds a run, and this one doesn't go on with it.
    """

    def __init__(self, folder: str | Path | None, *, resume: bool, main: bool) -> None:
        self.run = Run(Path(folder) if folder is not None else None)
        self._writes = self.run.folder is not None and main
        if self.run.folder is None:
            return
        path = self.run.folder
        logs = [path / name for name in ("metrics.jsonl", "evaluations.jsonl")]
        if resume:
            self.run.metrics, self.run.evaluations = map(_rows, logs)
        elif logs[0].is_file() and logs[0].stat().st_size:
            raise RunError(f"{path} already holds a run: go on with --resume, or give another --out")
        if main:
            with disk(path):
                (path / "checkpoints").mkdir(parents=True, exist_ok=True)

    def describe(self, **info: Any) -> None:
        """Write run.json."""
        if self._writes and self.run.folder is not None:
            write_json(self.run.folder / "run.json", {**info, "versions": versions()})

    def rewind(self, steps: int) -> None:
        """Drop what was logged after the checkpoint from which the run goes on."""
        self.run.metrics = [m for m in self.run.metrics if m["step"] <= steps]
        self.run.evaluations = [m for m in self.run.evaluations if m["step"] <= steps]
        if self._writes and self.run.folder is not None:
            for name, rows in (("metrics.jsonl", self.run.metrics), ("evaluations.jsonl", self.run.evaluations)):
                if rows or (self.run.folder / name).is_file():
                    write_text(self.run.folder / name, "".join(json.dumps(r) + "\n" for r in rows))

    def log(self, row: dict[str, Any]) -> None:
        self.run.metrics.append(row)
        self._append("metrics.jsonl", row)

    def evaluated(self, row: dict[str, Any]) -> None:
        self.run.evaluations.append(row)
        self._append("evaluations.jsonl", row)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        if self._writes and self.run.folder is not None:
            with disk(self.run.folder), (self.run.folder / name).open("a") as f:
                f.write(json.dumps(row) + "\n")


@contextlib.contextmanager
def disk(where: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or f"os error {errno.ENOSPC}" in str(error)
        mend = "free some room or" if full else "check the path or"
        why = getattr(error, "strerror", None) or error
        raise RunError(f"can't write to {where}: {why}; {mend} give another --out") from error


def write_text(path: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`."""
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under its name only once it is complete."""
    with _beside(path) as part:
        yield part
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)


@contextlib.contextmanager
def added_to(path: Path) -> Iterator[Path]:
    """A folder for files that go to `path` once all are written, over those of the same name; others there stay."""
    with _beside(path) as part:
        yield part
        for file in sorted(p for p in part.rglob("*") if p.is_file()):
            place = path / file.relative_to(part)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """An empty folder beside a path, gone at the end."""
    part = path.with_name(f".{path.name}.part")
    with disk(path):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file; a full disk is one line, not a traceback."""
    with disk(path):
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises RunError where it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"can't read {path}: {error}; put it back from a copy, or make it again") from error


def read_json(path: Path, *, mend: str) -> dict[str, Any]:
    """Read a JSON object; raises RunError, which says how to `mend` it, where it is missing or damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"can't read {path}: {error}; {mend}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} holds a {type(found).__name__} where an object is wanted; {mend}")
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a log; the last one is left out if a kill cut it short."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    rows = []
    for i, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
            rows[-1]["step"]
        except (ValueError, TypeError, KeyError) as error:
            if i + 1 < len(lines):
                raise RunError(f"{path}, line {i + 1} is damaged: {error}; delete that line") from error
            return rows[:i]
    return rows


def versions() -> dict[str, str]:
    """What a result depends on."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("accord", "torch", "transformers", "accelerate", "peft")},
    }
