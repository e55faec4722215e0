"""accord reproduce."""

import contextlib
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from accord.catalogue import find
from accord.cli.data import quiet_diffusers, say
from accord.errors import AccordError, ConfigError, ModelError, RunError


def reproduce(name: str | None = None, all: bool = False, tune: bool = False, plan: bool = False, confirm: bool = False, twins: int = 1,
              arms: str | None = None, seeds: str | None = None, processes: int = 2, json: str | None = None, list: bool = False,
              ruler: str | None = None, null: str | None = None) -> None:  # fmt: skip
    """Measure a published system's claim against its control, by a world's gold.

    Whatever is finished is kept: a command that was stopped goes on where it was, and one beside another helps it.

    Args:
        name: of the system.
        all: every system that has a reproduction.
        tune: run its arms for tuning on three tuning seeds (from 1000), and write down what came of each setting.
        plan: run its treatments and controls on tuning seeds (from 1000) and write down how many seeds the claim needs.
        confirm: run the first seed of every arm again; where all measure the same to the last bit as when the result was made by
            other code, it is no longer stale.
        twins: with --plan, runs of each arm and seed that differ in randomness alone; 3 shows how much of the scatter is luck.
        arms: run only these, separated by commas, and print their gold.
        seeds: run only these: 400-405, or 1000,1003.
        processes: runs at a time, one thread each.
        json: file for the result; reproductions/NAME.json without.
        list: show how far each system is, and which results are stale.
        ruler: measure base and oracle of a world (letters, portraits, room) and write down its delta.
        null: measure how often the harness errs in a world.
    """
    asked = {"--list": list, "--ruler": ruler, "--null": null, "--all": all, "a name": name}
    given = [k for k, v in asked.items() if v]
    if len(given) != 1:
        raise ConfigError(f"give one of {', '.join(asked)}" + (f", not {' and '.join(given)}" if given else ""))
    if processes < 1 or twins < 1:
        raise ConfigError(f"processes and twins must be at least 1, but are {processes} and {twins}")
    if tune and (plan or arms or seeds or given != ["a name"]):
        raise ConfigError("--tune runs all that a system has for tuning: use it with a name alone")
    if confirm and (tune or plan or arms or seeds or json or given[0] not in ("a name", "--all")):
        raise ConfigError("--confirm looks at whole results: use it with a name, or --all, alone")
    if twins != 1 and not plan:
        raise ConfigError("--twins is for --plan: give both, or leave it out")
    if json and (tune or plan or arms or seeds or given != ["a name"]):
        raise ConfigError("--json names the file of one system's whole result: use it with a name alone")
    with contextlib.suppress(ModelError):  # systems on text do without diffusers
        quiet_diffusers()
    if list:
        _list()
    elif ruler:
        _ruler(ruler, processes)
    elif null:
        _null(null, processes)
    else:
        found, failed = _systems(name), []
        if not (arms or seeds):
            _ = [system.delta for system in found]  # a world without a ruler is told before the first one runs
        for system in found:
            do: Callable[[], None] = partial(_whole, system, processes, json)
            if confirm:
                do = partial(_confirm, system, processes)
            elif tune:
                do = partial(_tune, system, processes)
            elif plan:
                do = partial(_plan, system, twins, processes)
            elif arms or seeds:
                do = partial(_part, system, arms, seeds, processes)
            failed += [] if _went(do, system.claim.name, alone=len(found) == 1) else [system.claim.name]
        if failed:
            raise RunError(f"{len(failed)} of {len(found)} could not be finished ({', '.join(failed)}): see above")


def _went(do: Callable[[], None], name: str, *, alone: bool) -> bool:
    """Whether it could be done; of several systems, one that fails is told and doesn't stop the others."""
    try:
        do()
    except AccordError as error:
        if alone:
            raise
        say(f"{name}: {error}")
        return False
    return True


def _systems(name: str | None) -> Sequence[Any]:
    """That one, or all."""
    from accord.reproduce import System, claims

    names = claims() if name is None else [find(name).name]
    if missing := [n for n in names if n not in claims()]:
        raise ConfigError(f"{missing[0]} has no reproduction yet; these have one: {', '.join(claims())}")
    return [System.of(n) for n in names]


def _whole(system: Any, processes: int, json: str | None) -> None:
    from accord.reproduce import reproduce_one

    result = reproduce_one(system, processes=processes, to=Path(json) if json else None, say=say)
    low, high = result.interval
    print(f"{result.name}: {result.verdict} (effect {result.effect:+.4g}, 95 % interval {low:+.4g} to {high:+.4g})")
    for name, p in result.primaries.items():
        print(f"  {name}: {p['mean']:+.4f} [{p['low']:+.4f}, {p['high']:+.4f}], {p['outcome']}, {p['came']}")
    for obstacle in result.obstacles:
        print(f"  open, as {obstacle}")


def _confirm(system: Any, processes: int) -> None:
    from accord.reproduce.harness import confirm

    odd = confirm(system, processes=processes, say=say)
    print(f"{system.claim.name}: {'confirmed' if not odd else 'stale, as by this code ' + '; '.join(odd[:3])}")


def _part(system: Any, arms: str | None, seeds: str | None, processes: int) -> None:
    from accord.reproduce.runs import run_all

    jobs = system.jobs(numbers(seeds) if seeds else None, arms.split(",") if arms else None)
    run_all(jobs, processes=processes, say=lambda text: say(f"{system.claim.name} {text}"))
    for arm in dict.fromkeys(j.arm for j in jobs):
        gold = [j.found["measures"]["gold"] for j in jobs if j.arm == arm]
        spread = f" (sd {statistics.stdev(gold):.4f} over {len(gold)} seeds)" if len(gold) > 1 else ""
        print(f"{arm}: gold {statistics.fmean(gold):.4f}{spread}")


def _tune(system: Any, processes: int) -> None:
    from accord.reproduce.tune import tune

    row = tune(system, processes=processes, say=say)
    table = Table("arm", "gold", *map(str, row["seeds"]), "of its peak", "seconds", box=None)
    for arm, came in row["arms"].items():
        gold = [f"{g:.3f}" for g in came["gold"]]
        table.add_row(arm, f"{statistics.fmean(came['gold']):.3f}", *gold, _number(came["of peak"]), f"{came['seconds']:.0f}")  # fmt: skip
    Console(width=None if Console().is_terminal else 160).print(table)


def _plan(system: Any, twins: int, processes: int) -> None:
    from accord.reproduce.claim import FEWEST, MOST
    from accord.reproduce.plan import make_plan

    plan = make_plan(system, twins=twins, processes=processes, say=say)
    show = Console(width=None if Console().is_terminal else 160)
    table = Table("primary", "mean", "sd", "by luck", *(f"±, {n}" for n in range(FEWEST, MOST + 1, 3)), "delta/2", "seeds", box=None)  # fmt: skip
    for name, row in plan["primaries"].items():
        halves = [f"{row['half'][str(n)]:.3f}" for n in range(FEWEST, MOST + 1, 3)]
        seeds = str(row["seeds"]) if row["decides"] else f"> {MOST}: too restless"
        table.add_row(name, f"{row['mean']:+.3f}", f"{row['sd']:.3f}", _number(row["twins"]), *halves, f"{row['delta'] / 2:.3f}", seeds)  # fmt: skip
    show.print(table)
    signs = Table("arm", "gold", "change", "of its peak", "run to run", "broke", "seconds", box=None)
    for arm, row in plan["arms"].items():
        signs.add_row(arm, *(_number(row[k]) for k in ("gold", "change", "of peak", "twins")), f"{row['broke']} of {row['runs']}", f"{row['seconds']:.0f}")  # fmt: skip
    show.print(signs)
    for warning in plan["warnings"]:
        print(f"not calm yet: {warning}")
    print(f"{plan['minutes']:.0f} minutes on two processes")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _list() -> None:
    from accord.reproduce import System, claims
    from accord.reproduce.harness import stale

    table = Table("name", "world", "seeds", "verdict", "", box=None)
    for name in claims():
        system, verdict = System.of(name), find(name).reproduction
        seeds = ", ".join(map(str, system.wanted.values()))
        table.add_row(name, system.claim.world, seeds, verdict or "", f"stale: {why}" if (why := stale(name)) else "")
    Console(width=None if Console().is_terminal else 160).print(table)


def _ruler(world: str, processes: int) -> None:
    from accord.reproduce.ruler import SHARE, measure_ruler

    found = measure_ruler(world, processes=processes, say=say)
    base, oracle = (statistics.fmean(found[arm]) for arm in ("base", "oracle"))
    print(f"{world}: base {base:.3f}, oracle {oracle:.3f}, delta {found['delta']}")
    if abs(found["delta"] / (SHARE * found["headroom"]) - 1) > 0.1:
        print(f"it was fixed when the headroom was another; for a world made anew take its row out of rulers.json first ({found['headroom'] * SHARE:.3f} now)")  # fmt: skip


def _null(world: str, processes: int) -> None:
    from accord.reproduce.errors import measure_errors

    row = measure_errors(world, processes=processes, say=say)
    print(f"{world}: {row['rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}] of comparisons of {row['seeds']} seeds come out better or worse, "
          f"by chance; run-to-run sd {row['run_to_run']:.4f}")  # fmt: skip


def numbers(text: str) -> Sequence[int]:
    """400-402,410 as numbers; raises ConfigError."""
    found: Sequence[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
            raise ConfigError(f"--seeds wants numbers like 400-405 or 1000,1003, not {text!r}")
        found = [*found, *range(int(first), int(last or first) + 1)]
    return found
