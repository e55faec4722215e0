"""Work by actors of Ray: in order, opened once by each, few parts at a time; what goes wrong is one line."""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from accord.cli.scoring import PART, by_parts
from accord.engine.workers import AHEAD, mapped
from accord.errors import ConfigError, FeedbackError, RunError
from accord.feedback import Comparison, read
from accord.rewards import Committee, Voting, WordFeatures, curate
from test_curate import pairs
from test_scoring import CALL, REWARD, rows, whole, written

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


def test_scoring_by_two_writes_the_lines_of_one(tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", rows(2 * PART + 10))
    by_parts(REWARD, str(data), tmp_path / "parts.jsonl", 2, **CALL)
    assert (tmp_path / "parts.jsonl").read_text() == whole(data, tmp_path / "whole.jsonl")


def test_curation_by_two_writes_the_file_of_one(tmp_path: Path) -> None:
    voters = [Committee(WordFeatures(64), 2).fitted(pairs(50), epochs=1)]
    a, b = (tmp_path / f"{n}.jsonl" for n in "ab")
    for out, workers in ((a, 0), (b, 2)):
        curate(pairs(90), out, [Voting(voters, flip=0.2)], part=10, workers=workers)
    for one, other in zip(read(a), read(b), strict=True):
        assert isinstance(one, Comparison)
        assert isinstance(other, Comparison)
        assert (one.chosen, one.provenance.status) == (other.chosen, other.provenance.status)
        assert one.columns["voted"] == pytest.approx(other.columns["voted"], abs=1e-5), "but for rounding"


def test_more_workers_than_cpus_are_refused_and_do_not_wait_forever() -> None:
    with pytest.raises(ConfigError, match="each worker takes a CPU"):
        mapped(str, range(3), 10_000)
