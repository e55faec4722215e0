"""What was measured of a reward, written into the card (README.md) beside it."""

import re
from collections.abc import Mapping
from pathlib import Path

from accord.engine.run import write_json, write_text
from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.page import between, written
from accord.evaluation.trust.trust import Trust
from accord.rewards.saved import INFO, Kept

BEGIN, END = "<!-- accord: measured -->", "<!-- accord: end of measured -->"


def write_card(found: Trust, folder: str | Path, data: str, *, who: str = "", more: Mapping[str, Estimate] = {}) -> Path:  # fmt: skip
    """Put what was measured into a saved reward's README.md, in the place of what an earlier measure put there, and all of it
    into trust.json; returns the card's path.

    Args:
        folder: of the reward. data: what it was measured on, by name; the card has its fingerprint as well.
        who: as whom it was measured, where it knows people. more: further shares, by name.
    """
    path = Path(folder) / "README.md"
    before = path.read_text() if path.is_file() else _head(Path(folder))
    kept = re.sub(rf"\n*{re.escape(BEGIN)}.*?{re.escape(END)}\n*", "\n", before, flags=re.DOTALL)
    section = _section(found, ", ".join(x for x in (f"{data} ({found.data})", who) if x), more)
    write_text(path, f"{kept.rstrip()}\n\n{BEGIN}\n{section}\n{END}\n")
    told = {"measured_on": data, "as": who or None, **{k: e.row() for k, e in more.items()}}
    write_json(Path(folder) / "trust.json", {**found.row(), **told})
    return path


def _head(folder: Path) -> str:
    """What a saved reward is, of what, and how to open it."""
    if not (folder / INFO).is_file():
        return "# Reward\n"
    info = Kept(folder).info
    features = ", ".join(f"{k} {v}" for k, v in (info["features"] or {}).items() if v is not None)
    plain = {k: v for k, v in info["settings"].items() if isinstance(v, int | float | str)}
    made = "\n".join(f"- {k}: {v}" for k, v in {"features": features or "none", **plain}.items())
    return f'# {info["kind"]}\n\n{made}\n\n```python\nfrom accord import rewards\n\nreward = rewards.load("<this folder>")\n```\n'


def figures(found: Trust) -> list[tuple[str, str]]:
    """How far its leads can be believed, by name, as one reads it."""
    t = found.calibration.temperature
    return [
        ("calibration error", f"{written(found.calibration.ece)} ({found.calibration.ece_by_chance:.3f} by chance)"),
        ("temperature", "none helps" if t is None else f"{written(t)} [{between(t)}]"),
        ("verdicts that contradict it however sure it is", f"{written(found.noise.rate, '%')} [{between(found.noise.rate, '%')}]"),
    ]  # fmt: skip


def _section(found: Trust, on: str, more: Mapping[str, Estimate]) -> str:
    shares = {"pairs ranked rightly": found.accuracy, **more}
    lines = [(name, f"{written(e, '%')} [{between(e, '%')}]") for name, e in shares.items()] + figures(found)
    if found.order is not None:
        lines.append(("verdicts that stay when answers change places", written(found.order.kept, "%")))
    lines += [(f"gain by being {e.ploy}, mean leads", f"{written(e.gain)} [{between(e.gain)}]") for e in found.effects]
    wrong = "\n".join(f"- {f}" for f in found.faults) or found.without_faults
    if found.undecided:
        wrong += f"\n\nCan't be told: {'; '.join(found.undecided)}."
    if found.untested:
        wrong += f"\n\nNot tested, or on too little: {', '.join(found.untested)}."
    table = "\n".join(f"| {name} | {value} |" for name, value in lines)
    return f"## Measured\n\nOn {on}.\n\n| | |\n|---|---|\n{table}\n\n## What is wrong with it\n\n{wrong}"
