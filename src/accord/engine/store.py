"""Numbers kept under what they were computed from: reference log-probs, embeddings, scores."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.errors import RunError


def cache_folder() -> Path:
    """Where accord keeps what is costly to make again: $ACCORD_CACHE, or accord/ in the user's cache."""
    base = os.environ.get("ACCORD_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "accord"
    return Path(base)


class Blobs:
    """Bytes by content hash: on disk (safe for several processes at once), or in memory for folder None."""

    def __init__(self, folder: str | Path | None, name: str) -> None:
        self._memory: dict[bytes, bytes] = {}
        self._file = None if folder is None else Path(folder) / f"{name}.sqlite"
        if self._file is not None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._open() as db:
                    db.execute("create table if not exists blobs (key blob primary key, value blob)")
            except (OSError, sqlite3.Error) as error:
                raise RunError(f"can't keep {name} in {folder}: {error}") from error

    @staticmethod
    def key(*parts: Any) -> bytes:
        """A hash of anything JSON can say."""
        return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=20).digest()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Any]:
        """Those that are known."""
        wanted = set(keys)
        found = {k: self._memory[k] for k in wanted if k in self._memory}
        if self._file is not None and len(found) < len(wanted):
            with self._open() as db:
                for k in wanted - found.keys():
                    for (value,) in db.execute("select value from blobs where key = ?", (k,)):
                        found[k] = self._memory[k] = value
        return found

    def put(self, blobs: Mapping[bytes, Any]) -> None:
        self._memory.update(blobs)
        if self._file is not None:
            try:
                with self._open() as db:
                    db.executemany("insert or replace into blobs values (?, ?)", list(blobs.items()))
            except sqlite3.Error as error:
                raise RunError(f"can't write to {self._file}: {error}; free some room") from error

    def _open(self) -> sqlite3.Connection:
        assert self._file is not None
        return sqlite3.connect(self._file, timeout=60)


class Store(Blobs):
    """Float vectors by content hash."""

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Float[Tensor, "d"]]:
        return {k: torch.from_numpy(np.frombuffer(v, np.float32).copy()) for k, v in super().get(keys).items()}

    def put(self, vectors: Mapping[bytes, Float[Tensor, "d"]]) -> None:
        super().put({k: v.detach().float().cpu().reshape(-1).numpy().tobytes() for k, v in vectors.items()})

    def tensors(self) -> dict[str, Tensor]:
        """All numbers that are in memory, as a checkpoint keeps them; `take` puts them back."""
        if not self._memory:
            return {}
        keys = torch.frombuffer(bytearray(b"".join(self._memory)), dtype=torch.uint8).reshape(len(self._memory), -1)
        known = self.get(self._memory)
        values = [known[k] for k in self._memory]
        return {"keys": keys, "values": torch.cat(values), "lengths": torch.tensor([len(v) for v in values])}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        if "keys" in tensors:
            values = tensors["values"].float().split(tensors["lengths"].tolist())
            rows = zip(tensors["keys"], values, strict=True)
            self._memory |= {bytes(k.tolist()): v.numpy().tobytes() for k, v in rows}


def fingerprint(module: nn.Module) -> str:
    """A hash of all weights: equal for equal models, whatever their name or folder."""
    h = hashlib.blake2b(digest_size=16)
    for name, p in module.state_dict().items():
        h.update(f"{name}:{tuple(p.shape)}:{p.dtype}".encode())
        h.update(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return h.hexdigest()
