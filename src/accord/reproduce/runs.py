"""Runs of arms: each made once, kept under the code that made it, two at a time, by as many processes as look at the list.

Workers share nothing but the disk. Each walks the same list, makes a run that isn't there and that no other process holds,
and goes on; a second command beside the first only helps it, and a kill at any moment costs the runs that were going on.
"""

import importlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from accord.engine.run import write_json
from accord.engine.seeds import seeded
from accord.engine.store import cache_folder
from accord.errors import AccordError, RunError
from accord.policies.meter import metered
from accord.reproduce.claim import Arm
from accord.reproduce.course import course
from accord.reproduce.keep import alone_or_not
from accord.reproduce.luck import luck, twin
from accord.reproduce.source import source_hash

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One run of an arm.

    Attributes:
        module: that has the arm in its table ARMS (or TUNING: arms for tuning seeds alone).
        source: `source_hash` of it: where the code changes, the run is another one.
        twin: see `accord.reproduce.luck`.
    """

    module: str
    source: str
    arm: str
    seed: int
    twin: int = 0

    @property
    def path(self) -> Path:
        """Where the run is kept."""
        folder = f"{self.module.rpartition('.')[2]}-{self.source}"
        return cache_folder() / "reproduce" / folder / self.arm / f"{self.seed}{f'.{self.twin}' * bool(self.twin)}.json"

    @property
    def done(self) -> bool:
        return self.path.is_file()

    @property
    def begun(self) -> bool:
        """Whether it is done, or was by other source, under whatever name its arm had: a seed that was seen stays seen."""
        folder = cache_folder() / "reproduce"
        return any(folder.glob(f"{self.module.rpartition('.')[2]}-*/*/{self.path.name}"))

    @cached_property
    def found(self) -> dict[str, Any]:
        """measures, compute, seconds and course of the finished run."""
        run: dict[str, Any] = json.loads(self.path.read_text())
        return run

    def attempt(self) -> bool:
        """Whether the run is there in the end; not, if another process is at it.

        Raises:
            RunError: the code changed meanwhile: nobody knows which of the two the run is of.
        """
        with alone_or_not(self.path) as mine:
            if self.done:
                return True
            if mine:
                found = measure(arms_of(self.module)[self.arm], self.seed, self.twin)
                if source_hash(self.module) != self.source:
                    raise RunError(f"the source of {self.module} changed while {self.arm} ran: start again (and leave a "
                                   "checkout alone in which reproductions run)")  # fmt: skip
                write_json(self.path, found)
            return mine


def jobs_of(module: str, arms: Iterable[str], seeds: Iterable[int], twins: Sequence[int] = (0,)) -> list[Job]:
    """Runs of a module's arms, by the code as it is."""
    source = source_hash(module)
    return [Job(module, source, arm, seed, t) for seed in seeds for arm in arms for t in twins]


def arms_of(module: str) -> dict[str, Arm]:
    """The table of a module, and what it has for tuning beside."""
    return {**arms_for_tuning(module), **importlib.import_module(module).ARMS}


def arms_for_tuning(module: str) -> dict[str, Arm]:
    """Those among which a claim's settings are chosen; often none."""
    found: dict[str, Arm] = getattr(importlib.import_module(module), "TUNING", {})
    return found


def measure(arm: Arm, seed: int, number: int = 0) -> dict[str, Any]:
    """What an arm measures with a seed (its twin of this number), its compute, its time and its course.

    The global generators stand at the seed's own place: all arms of a seed begin alike, and each comes out the same
    whatever ran before it.
    """
    started = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads add in another order, and training makes another run of it
    try:
        with twin(number), metered() as meter, course() as rows, seeded(luck(seed), purpose="arm"):
            measures = {name: float(value) for name, value in arm(seed).items()}
    finally:
        torch.set_num_threads(threads)
    seconds = time.perf_counter() - started
    return {"measures": measures, "compute": meter.units, "seconds": seconds, "course": rows}


def run_all(jobs: Sequence[Job], *, processes: int = 2, say: Say = lambda text: None) -> None:
    """Make all runs that are not there yet.

    Args:
        processes: that run at a time, one thread each; 1 is this one.

    Raises:
        RunError: a run failed; what it said stands on stderr.
    """
    missing = [job for job in jobs if not job.done]
    news = _News(jobs, min(processes, len(missing)), say)
    if processes == 1:
        work(missing, 0, 1, news.tell)
        return
    workers = [get_context("spawn").Process(target=_worker, args=(missing, i, processes), daemon=True) for i in range(news.processes)]  # fmt: skip
    for worker in workers:
        worker.start()
    try:
        while any(w.is_alive() for w in workers):
            if any(w.exitcode for w in workers):
                break
            workers[0].join(0.5)
            news.tell()
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    news.tell()
    if not all(job.done for job in missing):
        raise RunError("a run failed (see above); those that are finished are kept, and the same command goes on")


def work(jobs: Sequence[Job], number: int = 0, of: int = 1, tell: Callable[[], None] = lambda: None) -> None:
    """Make what is missing: this worker's share of the seeds first, so that what a seed's arms share is made once, then
    whatever is left."""
    seeds = sorted({job.seed for job in jobs})
    turn = {seed: ((i - number) % of, i) for i, seed in enumerate(seeds)}
    todo = sorted(jobs, key=lambda job: turn[job.seed])
    while todo:
        left = []
        for job in todo:
            if not job.attempt():
                left.append(job)
            tell()
        todo = left
        if todo:
            time.sleep(1)


def _worker(jobs: Sequence[Job], number: int, of: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(jobs, number, of)
    except AccordError as error:
        print(f"accord: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    """At once, in the midst of a run, however the parent ended: what is finished is on disk."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _News:
    """Says what has been finished, and how long the rest will take."""

    def __init__(self, jobs: Sequence[Job], processes: int, say: Say) -> None:
        self.jobs, self.processes, self.say = list(jobs), processes, say
        self.told = {job for job in jobs if job.done}

    def tell(self) -> None:
        for job in [j for j in self.jobs if j not in self.told and j.done]:
            self.told.add(job)
            gold = job.found["measures"].get("gold", float("nan"))
            self.say(f"{len(self.told)}/{len(self.jobs)} · seed {job.seed} {job.arm}: gold {gold:.4f} "
                     f"({job.found['seconds']:.0f} s) · {self._left()}")  # fmt: skip

    def _left(self) -> str:
        seconds: dict[str, list[float]] = {}
        for job in self.told:
            seconds.setdefault(job.arm, []).append(job.found["seconds"])
        mean = {arm: statistics.fmean(s) for arm, s in seconds.items()}
        usual = statistics.fmean(mean.values())
        left = sum(mean.get(j.arm, usual) for j in self.jobs if j not in self.told) / max(1, self.processes)
        return f"{left / 60:.0f} min left" if left >= 60 else f"{left:.0f} s left"
