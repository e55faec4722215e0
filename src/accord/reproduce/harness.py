"""Systems and their reproductions: runs what a claim needs, judges, writes the result, its figure and the courses of its runs."""

import importlib
import json
import pkgutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from accord import catalogue
from accord.catalogue import results_folder
from accord.engine.run import write_json, write_text
from accord.errors import ConfigError
from accord.reproduce import systems
from accord.reproduce.claim import Claim
from accord.reproduce.committed import committed
from accord.reproduce.figure import figure, save
from accord.reproduce.result import Result
from accord.reproduce.ruler import bench, delta_of
from accord.reproduce.runs import Job, Say, arms_of, run_all
from accord.reproduce.source import source_hash


@dataclass(frozen=True)
class System:
    """A reproduction: the module that has its arms, and its claim."""

    module: str
    claim: Claim

    @classmethod
    def of(cls, name: str) -> "System":
        """By its name in the catalogue. Only this one is imported: those on pictures need more libraries than those on text."""
        return cls.read(f"{systems.__name__}.{name.replace('-', '_')}")

    @classmethod
    def read(cls, module: str) -> "System":
        """From a module.

        Raises:
            ValueError: its arms are not those of its claim.
        """
        loaded = importlib.import_module(module)
        loaded.CLAIM.check(loaded.ARMS)
        return cls(module, loaded.CLAIM)

    @property
    def wanted(self) -> dict[str, int]:
        """Seeds of each primary: as its plan says (see `accord.reproduce.plan`), and no fewer than the claim."""
        plan = committed("plans").get(self.claim.name, {})
        rows = plan["primaries"] if plan.get("claim") == self.claim.hash else {}
        return {p.name: max(self.claim.seeds, rows.get(p.name, {"seeds": 0})["seeds"]) for p in self.claim.primaries}

    @property
    def delta(self) -> float | None:
        """The world's, if a primary rests on it; raises ConfigError where it has none."""
        return delta_of(self.claim.world) if any(p.delta is None for p in self.claim.primaries) else None

    @property
    def source(self) -> str:
        return source_hash(self.module)

    def jobs(
        self, seeds: Sequence[int] | None = None, arms: Sequence[str] | None = None, twins: Sequence[int] = (0,)
    ) -> list[Job]:
        """The runs that the claim wants, the world's base among them where it needs that; or a part.

        Args:
            seeds: these, also such as the claim doesn't name. arms: these, also such as are for tuning.
        """
        claim, own = self.claim, arms_of(self.module)
        known = [*own, "base"]
        if odd := [a for a in arms or () if a not in known]:
            raise ConfigError(f"{claim.name} has no arm {odd[0]!r}; its arms are {', '.join(known)}")
        wanted = arms or [*claim.arms, *sorted(claim.compared - set(claim.arms))]
        home = {arm: self.module if arm in own else bench(claim.world) for arm in wanted}
        source = {module: source_hash(module) for module in set(home.values())}
        own_seeds = claim.seeds_of(self.wanted)
        return [
            Job(home[arm], source[home[arm]], arm, seed, number)
            for seed in seeds or max(own_seeds.values(), key=len)
            for arm in wanted
            if seeds or seed in own_seeds[arm]
            for number in twins
        ]


def claims() -> list[str]:
    """Systems that have a reproduction, in order of their cards."""
    found = {m.name.replace("_", "-") for m in pkgutil.iter_modules(systems.__path__)}
    return [m.name for m in catalogue.systems() if m.name in found]


def reproduce_one(
    system: System, *, processes: int = 2, to: Path | None = None, say: Say = lambda text: None
) -> Result:
    """Run a reproduction and judge it; runs that are already finished, by the same code, are not made again.

    Beside the result lie its figure and, in courses/, a line for the course of each run that had one.
    """
    claim, delta, jobs = system.claim, system.delta, system.jobs()
    run_all(jobs, processes=processes, say=lambda text: say(f"{claim.name} {text}"))
    result = Result.of(claim, jobs, delta, system.wanted)
    path = to or results_folder() / f"{claim.name}.json"
    write_json(path, asdict(result))
    courses = {arm: [j.found["course"] for j in jobs if j.arm == arm] for arm in result.measures}
    save(figure(result, claim, courses), path.with_suffix(".svg"))
    rows = [{"arm": j.arm, "seed": j.seed, "course": j.found["course"]} for j in jobs if j.found["course"]]
    if rows:
        write_text(path.parent / "courses" / f"{path.stem}.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    return result


def stale(name: str) -> str | None:
    """Why a committed result is not one of the claim and the code as they stand; None where it is, or there is none."""
    path = results_folder() / f"{name}.json"
    if not path.is_file():
        return None
    result, system = json.loads(path.read_text()), System.of(name)
    if result["claim_hash"] != system.claim.hash:
        return "of another claim"
    if result["wanted"] != system.wanted:
        return "of another plan"
    return None if result.get("source_hash") == system.source else "of other code"


def confirm(system: System, *, processes: int = 2, say: Say = lambda text: None) -> list[str]:
    """Whether a result that other code made is this code's too: every arm runs again with the claim's first seed, and where all
    of them measure the very same, to the last bit, the result says so from then on.

    Returns:
        What differs; nothing where it is confirmed.

    Raises:
        ConfigError: there is no result, or it is of another claim: run it.
    """
    claim = system.claim
    path = results_folder() / f"{claim.name}.json"
    result = json.loads(path.read_text()) if path.is_file() else None
    if result is None or result["claim_hash"] != claim.hash:
        raise ConfigError(f"{claim.name} has no result of the claim as it stands: run accord reproduce {claim.name}")
    if result["source_hash"] == system.source:
        return []
    jobs = system.jobs([claim.first_seed], list(result["measures"]))
    run_all(jobs, processes=processes, say=lambda text: say(f"{claim.name} {text}"))
    then = {arm: {m: values[0] for m, values in row.items()} for arm, row in result["measures"].items()}
    odd = [f"{j.arm} measures {m} {j.found['measures'].get(m)}, not {value}"
           for j in jobs for m, value in then[j.arm].items() if j.found["measures"].get(m) != value]  # fmt: skip
    if not odd:
        earlier = [*result.get("confirmed", []), result["source_hash"]]
        write_json(path, {**result, "source_hash": system.source, "confirmed": earlier})
    return odd
