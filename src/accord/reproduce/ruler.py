"""The ruler of a world: its untrained base, its oracle, and delta, the smallest difference worth having."""

import statistics
from importlib.util import find_spec
from typing import Any

from accord.catalogue import results_folder
from accord.errors import ConfigError
from accord.reproduce.committed import commit, committed
from accord.reproduce.runs import Say, jobs_of, run_all

SEEDS = range(400, 412)
SHARE = 0.2
"""Of the headroom between base and oracle that a difference must have to be worth anything."""


def bench(world: str) -> str:
    """The module that has a world's own arms (base, oracle, null) and what its reproductions share.

    Raises:
        ConfigError: there is none.
    """
    name = f"accord.reproduce.{world}"
    if find_spec(name) is None:
        raise ConfigError(f"no world called {world!r}; the worlds of reproductions are letters, portraits and room")
    return name


def delta_of(world: str) -> float:
    """The committed delta of a world; raises ConfigError where it has none."""
    if world not in (found := committed("rulers")):
        raise ConfigError(f"{world} has no ruler in {results_folder() / 'rulers.json'}: measure it by accord reproduce --ruler {world}")  # fmt: skip
    return float(found[world]["delta"])


def measure_ruler(world: str, *, processes: int = 2, say: Say = lambda text: None) -> dict[str, Any]:
    """Measure base and oracle on the ruler's seeds and commit delta, a fifth of the headroom; returns the ruler.

    Delta is fixed once: where the world has one it stays, whatever is measured now, since claims were planned by it. A world
    that was made anew begins without its row in rulers.json.

    Raises:
        ConfigError: there is no headroom to speak of.
    """
    jobs = jobs_of(bench(world), ("base", "oracle"), SEEDS)
    run_all(jobs, processes=processes, say=say)
    gold = {arm: [j.found["measures"]["gold"] for j in jobs if j.arm == arm] for arm in ("base", "oracle")}
    headroom = statistics.fmean(gold["oracle"]) - statistics.fmean(gold["base"])
    if headroom < 0.05:
        raise ConfigError(f"{world}: the oracle is only {headroom:+.3f} above the base: nothing can be measured there")
    found = {
        "delta": committed("rulers").get(world, {}).get("delta", round(SHARE * headroom, 3)),
        "headroom": headroom,
        "seeds": list(SEEDS),
        **gold,
        "source": jobs[0].source,
    }
    commit("rulers", world, found)
    return found
