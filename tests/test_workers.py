"""Work by actors of Ray: in order, opened once by each, few parts at a time; what goes wrong is one line."""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from accord.engine.workers import AHEAD, mapped
from accord.errors import FeedbackError, RunError

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'accord[ray]'")


def squares(folder: Path) -> Any:
    """Work that notes in a folder every time that it is opened."""

    class Squares:  # of no module: workers don't find those of tests
        def __setstate__(self, state: dict[str, Any]) -> None:
            tempfile.mkstemp(dir=folder)

        def __getstate__(self) -> dict[str, Any]:
            return {"some": "thing"}

        def __call__(self, part: int) -> int:
            if part == 13:
                raise FeedbackError("13 brings bad luck: leave it out")
            if part == 14:
                os._exit(1)
            return part * part

    return Squares()


def test_two_workers_answer_in_order_open_their_work_once_and_run_only_so_far_ahead(tmp_path: Path) -> None:
    asked: list[int] = []

    def parts() -> Iterator[int]:
        for i in range(12):
            asked.append(i)
            yield i

    found = mapped(squares(tmp_path), parts(), 2)
    assert not asked
    assert next(found) == 0
    assert len(asked) == AHEAD * 2
    assert list(found) == [i * i for i in range(1, 12)]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_of_ours_comes_as_its_line_and_a_worker_that_ends_as_another(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match=r"^13 brings bad luck: leave it out$"):
        list(mapped(squares(tmp_path), [1, 13], 1))
    with pytest.raises(RunError, match=r"a worker of Ray ended: .*fewer workers") as told:
        list(mapped(squares(tmp_path), [14], 1))
    assert "\n" not in str(told.value)
