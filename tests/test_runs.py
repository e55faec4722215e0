"""Runs of arms: whoever makes them, whenever it is killed, each is made once and comes out the same."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from accord.errors import RunError
from accord.reproduce.keep import alone_or_not
from accord.reproduce.runs import Job, jobs_of, run_all

TOY = """
import os, time
import torch
from accord.reproduce.course import note


def arm(name):
    def run(seed):
        with open(os.environ["TOY"] + "/log", "a") as log:
            log.write(f"{name}{seed}\\n")
        time.sleep(float(os.environ.get("TOY_SLEEP", "0")))
        if os.path.exists(os.environ["TOY"] + f"/{name}{seed}-breaks"):
            os._exit(3)
        note(0, {"reward/gold": seed})
        return {"gold": float(torch.rand(())), "drawn": float(torch.rand(()))}

    return run


ARMS = {"a": arm("a"), "b": arm("b")}
"""

HELPER = "from accord.reproduce.runs import jobs_of, run_all; run_all(jobs_of('toy_runs', ['a', 'b'], range(4)), processes={})"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with two arms whose runs are logged, for this process and for others."""
    (tmp_path / "toy_runs.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("TOY", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    use(tmp_path, monkeypatch, "first")
    yield tmp_path
    sys.modules.pop("toy_runs", None)


def use(folder: Path, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    """From now on runs are kept there, and the log is empty."""
    monkeypatch.setenv("ACCORD_CACHE", str(folder / cache))
    (folder / "log").write_text("")


def begun(folder: Path) -> Counter[str]:
    return Counter((folder / "log").read_text().split())


def jobs() -> list[Job]:
    return jobs_of("toy_runs", ["a", "b"], range(4))


def measures() -> list[dict[str, float]]:
    return [job.found["measures"] for job in jobs()]


ALL = Counter(f"{arm}{seed}" for arm in "ab" for seed in range(4))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_command_and_one_beside_it_lose_only_what_was_going_on(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(jobs(), processes=1)
    assert begun(toy) == ALL
    run_all(jobs(), processes=1)
    assert begun(toy) == ALL, "what is finished is not run again"
    alone = measures()
    assert alone[0] == alone[1] != alone[2], "the arms of a seed begin alike"
    assert jobs()[5].found["course"] == [{"step": 0, "reward/gold": 2}]

    use(toy, monkeypatch, "second")
    monkeypatch.setenv("TOY_SLEEP", "0.4")
    both = [subprocess.Popen([sys.executable, "-c", HELPER.format(1)]) for _ in range(2)]
    until(lambda: begun(toy).total() >= 3)
    both[0].send_signal(signal.SIGKILL)
    assert both[1].wait(120) == 0
    assert both[0].wait() == -signal.SIGKILL
    assert measures() == alone
    again = begun(toy)
    assert set(again) == set(ALL)
    assert again.total() <= ALL.total() + 1, "one run was going on in the one that was killed"


def test_workers_end_with_the_command_that_started_them(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_SLEEP", "600")
    command = subprocess.Popen([sys.executable, "-c", HELPER.format(2)])
    until(lambda: begun(toy).total() >= 2)

    def held() -> list[Job]:
        found = []
        for job in jobs():
            with alone_or_not(job.path) as mine:
                found += [] if mine else [job]
        return found

    assert len(held()) == 2
    command.kill()
    command.wait()
    until(lambda: not held())
    assert not any(job.done for job in jobs())
    monkeypatch.setenv("TOY_SLEEP", "0")
    run_all(jobs(), processes=1)
    assert all(job.done for job in jobs())
    assert begun(toy).total() == ALL.total() + 2, "what the two were at"


def test_a_run_that_dies_is_told_and_the_others_are_kept(toy: Path) -> None:
    (toy / "a1-breaks").touch()
    with pytest.raises(RunError, match="a run failed"):
        run_all(jobs(), processes=2)
    done = [job for job in jobs() if job.done]
    assert 0 < len(done) < 8
    (toy / "a1-breaks").unlink()
    said: list[str] = []
    run_all(jobs(), processes=1, say=said.append)
    assert len(said) == 8 - len(done)
    assert said[-1].startswith("8/8 · seed ")
    assert said[-1].endswith("0 s left")


def test_runs_of_other_code_are_other_runs_and_those_of_two_codes_are_none(toy: Path) -> None:
    run_all(jobs(), processes=1)
    before = jobs()
    (toy / "toy_runs.py").write_text(TOY.replace("float(seed)", "1.0").replace("{name}{seed}\\n", "{name}{seed} \\n"))
    assert not any(job.done for job in jobs())
    assert all(job.done for job in before)
    with pytest.raises(RunError, match="changed while a ran"):
        Job("toy_runs", before[0].source, "a", 77).attempt()
    assert not Job("toy_runs", before[0].source, "a", 77).done
