"""Folders of tiny models, made once; and what the full run notes down."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .matrix import Note, table

RESULTS = os.environ.get("CONFORMANCE_RESULTS")
"""The file that takes what was found; none in an ordinary run."""
noted: list[Any] = []


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny models are saved."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Notes a cell of the matrix; a test that fails afterwards is noted as failed there."""

    def add(part: str, name: str, **what: str) -> None:
        request.node.user_properties.append(("matrix", (part, name, what)))

    return add


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and RESULTS:
        cells = [value for key, value in report.user_properties if key == "matrix"]
        noted.extend(
            (part, name, {**what, "failed": report.nodeid} if report.failed else what) for part, name, what in cells
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if RESULTS and noted and not hasattr(session.config, "workerinput"):
        Path(RESULTS).write_text(json.dumps(table(noted), indent=1, ensure_ascii=False) + "\n")
