"""What was measured of a reward, written into the card (README.md) beside it."""

import re
from pathlib import Path

from accord.engine.run import write_json, write_text
from accord.evaluation.trust.page import between, written
from accord.evaluation.trust.trust import Trust

BEGIN, END = "<!-- accord: measured -->", "<!-- accord: end of measured -->"


def write_card(found: Trust, folder: str | Path, data: str) -> Path:
    """Put what was measured into a saved reward's README.md, in the place of what an earlier measure put there, and all of it
    into trust.json; returns the card's path.

    Args:
        folder: of the reward. data: what it was measured on, by name; the card has its fingerprint as well.
    """
    path = Path(folder) / "README.md"
    before = path.read_text() if path.is_file() else "# Reward\n"
    kept = re.sub(rf"\n*{re.escape(BEGIN)}.*?{re.escape(END)}\n*", "\n", before, flags=re.DOTALL)
    write_text(path, f"{kept.rstrip()}\n\n{BEGIN}\n{_section(found, data)}\n{END}\n")
    write_json(Path(folder) / "trust.json", {**found.row(), "measured_on": data})
    return path


def _section(found: Trust, data: str) -> str:
    t = found.calibration.temperature
    lines = [
        ("pairs ranked rightly", f"{written(found.accuracy, '%')} [{between(found.accuracy, '%')}]"),
        ("calibration error", f"{written(found.calibration.ece)} ({found.calibration.ece_by_chance:.3f} by chance)"),
        ("temperature", "none helps" if t is None else f"{written(t)} [{between(t)}]"),
        ("verdicts that contradict it however sure it is", f"{written(found.noise.rate, '%')} [{between(found.noise.rate, '%')}]"),
    ]  # fmt: skip
    if found.order is not None:
        lines.append(("verdicts that stay when answers change places", written(found.order.kept, "%")))
    lines += [(f"gain by being {e.ploy}, mean leads", f"{written(e.gain)} [{between(e.gain)}]") for e in found.effects]
    wrong = "\n".join(f"- {f}" for f in found.faults) or found.without_faults
    if found.undecided:
        wrong += f"\n\nCan't be told: {'; '.join(found.undecided)}."
    if found.untested:
        wrong += f"\n\nNot tested, or on too little: {', '.join(found.untested)}."
    table = "\n".join(f"| {name} | {value} |" for name, value in lines)
    return (
        f"## Measured\n\nOn {data} ({found.data}).\n\n| | |\n|---|---|\n{table}\n\n## What is wrong with it\n\n{wrong}"
    )
