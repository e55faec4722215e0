"""Rows that commands measure and people commit: rulers of worlds, plans of claims, the harness's error rates."""

import json
from pathlib import Path
from typing import Any

from accord.catalogue import results_folder
from accord.engine.run import write_json
from accord.engine.store import cache_folder
from accord.reproduce.keep import alone


def committed(name: str) -> dict[str, Any]:
    """The rows of reproductions/NAME.json; none where there is no such file."""
    path = _path(name)
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def commit(name: str, key: str, row: dict[str, Any]) -> None:
    """Put a row there, beside what other commands put there meanwhile."""
    with alone(cache_folder() / "reproduce" / name):
        write_json(_path(name), {**committed(name), key: row})


def _path(name: str) -> Path:
    return results_folder() / f"{name}.json"
