"""Work on data part by part, here or by workers of Ray: results come in the order of the parts, and few parts are in memory at once."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from accord.errors import ConfigError, wanted

P = TypeVar("P")
R = TypeVar("R")

AHEAD = 4
"""Parts of each worker that are on their way at once."""


def mapped(work: Callable[[P], R], parts: Iterable[P], workers: int = 0) -> Iterator[R]:
    """What `work` makes of each part, in order; raises at once, not with the first part.

    Args:
        workers: 0 works here. Otherwise so many parts at once by ray[data], on the cluster that RAY_ADDRESS names or on this machine; `work` is
            then sent to the workers once, with all that it holds.

    Raises:
        ConfigError: Ray is wanted, but not installed.
    """
    check_workers(workers)
    return _spread(_ray(), work, parts, workers) if workers else map(work, parts)


def check_workers(workers: int) -> None:
    """As `mapped` does, before there are parts."""
    wanted(workers >= 0, "workers must be at least 0", workers)
    if workers:
        _ray()


def _spread(ray: Any, work: Callable[[P], R], parts: Iterable[P], workers: int) -> Iterator[R]:
    sent, left = ray.put(work), iter(parts)
    pack, unpack = ray.cloudpickle.dumps, ray.cloudpickle.loads

    def done(row: dict[str, Any]) -> dict[str, Any]:
        return {"at": row["at"], "part": pack(ray.get(sent)(unpack(row["part"])))}

    while some := list(islice(left, AHEAD * workers)):
        rows = [{"at": i, "part": pack(p)} for i, p in enumerate(some)]
        table = ray.data.from_items(rows, override_num_blocks=len(rows))
        found = table.map(done, compute=ray.data.TaskPoolStrategy(size=workers)).take_all()
        yield from (unpack(r["part"]) for r in sorted(found, key=lambda r: r["at"]))


def _ray() -> Any:
    try:
        import ray
        import ray.cloudpickle
        import ray.data
    except ImportError as error:
        raise ConfigError('workers want Ray: pip install "accord[ray]", or leave --workers out') from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
