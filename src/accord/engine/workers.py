"""Work on data part by part, here or by workers of Ray: results come in the order of the parts, and few parts are in memory at once."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from accord.errors import AccordError, ConfigError, RunError, wanted

P = TypeVar("P")
R = TypeVar("R")

AHEAD = 4
"""Parts of each worker that are on their way at once."""


def mapped(work: Callable[[P], R], parts: Iterable[P], workers: int = 0) -> Iterator[R]:
    """What `work` makes of each part, in order; raises at once, not with the first part.

    Args:
        workers: 0 works here. Otherwise so many actors of Ray, on the cluster that RAY_ADDRESS names or on this machine. Each gets `work` once, with all
            that it holds, and no GPU: what it holds has to lie on the CPU.

    Raises:
        ConfigError: Ray is wanted, but not installed.
        RunError: a worker ended. What `work` itself raises of `accord.errors` comes as it is.
    """
    check_workers(workers)
    return _spread(_ray(), work, parts, workers) if workers else map(work, parts)


def check_workers(workers: int) -> None:
    """As `mapped` does, before there are parts."""
    wanted(workers >= 0, "workers must be at least 0", workers)
    if workers:
        cpus = int(_ray().cluster_resources().get("CPU", 0))
        wanted(workers <= cpus, f"each worker takes a CPU, of which Ray has {cpus} here: take fewer workers", workers)


class _Worker(Generic[P, R]):
    def __init__(self, work: Callable[[P], R]) -> None:
        self.work = work

    def done(self, part: P) -> R:
        return self.work(part)


def _spread(ray: Any, work: Callable[[P], R], parts: Iterable[P], workers: int) -> Iterator[R]:
    sent, hired = ray.put(work), ray.remote(num_cpus=1)(_Worker)
    staff = [hired.remote(sent) for _ in range(workers)]
    asked: deque[Any] = deque()
    try:
        for i, part in enumerate(parts):
            asked.append(staff[i % workers].done.remote(part))
            if len(asked) == AHEAD * workers:
                yield _said(ray, asked.popleft())
        while asked:
            yield _said(ray, asked.popleft())
    finally:
        for worker in staff:
            ray.kill(worker)


def _said(ray: Any, answer: Any) -> Any:
    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, AccordError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        raise RunError(
            f"a worker of Ray ended: {why}; if memory ran out, take fewer workers or smaller parts"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError('workers want Ray: pip install "accord[ray]", or leave --workers out') from error
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except Exception as error:  # it has no class of its own for this
            raise RunError(f"Ray can't start: {str(error).strip().splitlines()[0]}") from error
    return ray
