"""The 96 systems, and the methods beside them, as one table: what each is, how far it is here, and where it is found.

`catalogue.toml` is the only list of methods that there is; everything that names one reads it.
"""

import importlib
import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from accord.errors import ConfigError

Status = Literal["working", "planned"]
Verdict = Literal["holds", "in part", "fails", "open"]


@dataclass(frozen=True)
class Method:
    """A published method.

    Attributes:
        name: how the command line calls it, and the name of its file. short: how people call it.
        entry: "module:name" of what it is in the code, once that is here, and what: it does, in one line.
        by: the method that trains a policy by it, where it makes a reward.
        number: of its card; None for those that are not among the 96.
    """

    name: str
    short: str
    title: str
    kind: str
    modality: tuple[str, ...]
    arxiv: str
    entry: str | None = None
    what: str | None = None
    by: str | None = None
    number: int | None = None

    @property
    def status(self) -> Status:
        """ "working" once its code, tests and reproduction are here."""
        return "working" if self.entry else "planned"

    @property
    def reproduction(self) -> Verdict | None:
        """The verdict of its committed reproduction, None where there is none (or it is of the time before these verdicts)."""
        path = results_folder() / f"{self.name}.json"
        result = json.loads(path.read_text()) if path.is_file() else {}
        verdict: Verdict | None = result["verdict"] if "obstacles" in result else None
        return verdict

    def load(self) -> Any:
        """The class or function that it is, imported now; raises ConfigError for a system that isn't here yet."""
        if self.entry is None:
            raise ConfigError(f"{self.name} is planned, but not here yet; see `accord methods`")
        module, name = self.entry.split(":")
        return getattr(importlib.import_module(module), name)

    def row(self) -> dict[str, object]:
        """As `accord methods --json` prints it."""
        return {
            "number": self.number, "name": self.name, "title": self.title, "kind": self.kind,
            "modality": ", ".join(self.modality), "status": self.status, "reproduction": self.reproduction,
        }  # fmt: skip


def systems() -> tuple[Method, ...]:
    """The 96, in order of their cards."""
    return _read("system")


def methods() -> tuple[Method, ...]:
    """Everything that has a name here: the 96, and the methods that they are measured against or built of."""
    return systems() + _read("also")


def find(name: str) -> Method:
    """A method by name or number; raises ConfigError with the nearest names."""
    import difflib

    for m in methods():
        if name in (m.name, str(m.number)):
            return m
    near = difflib.get_close_matches(name, [m.name for m in methods()], 3)
    raise ConfigError(
        f"no method called {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "; see `accord methods`")
    )


def results_folder() -> Path:
    """Where reproductions' results lie: in the checkout this package runs from, else under the working directory."""
    checkout = Path(__file__).parents[2] / "reproductions"
    return checkout if checkout.is_dir() else Path("reproductions")


@cache
def _read(array: str) -> tuple[Method, ...]:
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))[array]
    return tuple(Method(**{**t, "modality": tuple(t["modality"])}) for t in tables)
