"""One self-contained HTML page of a run: what ran, curves, answers before and after, alarms."""

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.engine.run import Run, write_text
from accord.evaluation.alarms import Alarm, alarms
from accord.evaluation.drawing import ACCENT, FAINT, TRUTH, Picture, axes, number, picture, rendered


def write_report(folder: str | Path, to: str | Path | None = None) -> Path:
    """Write the report of a run (report.html in its folder, unless told otherwise) and return its path.

    Raises:
        RunError: the folder holds no run.
    """
    run = Run.open(folder)
    assert run.folder is not None
    samples = sorted((run.folder / "samples").glob("*.jsonl"))
    before, after = (_rows(samples[0]), _rows(samples[-1])) if len(samples) > 1 else ([], [])
    info = run.info
    optimised = str(info.get("optimised", "proxy"))
    page = rendered(
        "report.html",
        title=info.get("title", f"{info.get('algorithm', 'Run')} in {run.folder.name}"),
        summary=_summary(run),
        story=info.get("story", ""),
        facts=_facts(info, run),
        pictures=[*_curves(run, optimised), *_distributions(before, after)],
        alarms=alarms(run.evaluations, before, after, optimised),
        samples=_side_by_side(before, after, run.folder / "samples"),
        reference=_embedded(run.folder / "reference.png"),
        rewards=list(before[0]["rewards"]) if before else [],
        configuration=json.dumps({k: v for k, v in info.items() if k not in ("story",)}, indent=2, default=str),
    )
    path = Path(to) if to is not None else run.folder / "report.html"
    write_text(path, page)
    return path


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _summary(run: Run) -> list[dict[str, str]]:
    """Measures of the first and the last evaluation side by side."""
    if not run.evaluations:
        return []
    first, last = run.evaluations[0], run.evaluations[-1]
    names = [k for k in last if k != "step" and isinstance(last[k], int | float) and k.count("/") < 3]
    return [
        {"name": k.replace("reward/", "reward: ").replace("/", ", "), "before": number(first.get(k)), "after": number(last[k]),
         "change": number(last[k] - first[k], sign=True) if isinstance(first.get(k), int | float) else ""}
        for k in names
    ]  # fmt: skip


def _facts(info: Mapping[str, Any], run: Run) -> list[tuple[str, str]]:
    seconds = sum(m.get("seconds", 0.0) for m in run.metrics)
    training = info.get("training", {})
    facts = [
        ("algorithm", info.get("algorithm")), ("policy", info.get("model")), ("data", info.get("data")),
        ("reward", info.get("reward")), ("steps", f"{len(run.metrics)} of {info.get('steps')} ({info.get('status')})"),
        ("batch", training.get("batch_size")), ("learning rate", training.get("lr")), ("seed", training.get("seed")),
        ("training time", f"{seconds:.0f} s"),
        ("versions", ", ".join(f"{k} {v}" for k, v in info.get("versions", {}).items())),
    ]  # fmt: skip
    return [(k, str(v)) for k, v in facts if v is not None]


def _curves(run: Run, optimised: str) -> list[Picture]:
    pictures = []
    rewards = [
        k for k in (run.evaluations[-1] if run.evaluations else {}) if k.startswith("reward/") and k.count("/") == 1
    ]
    if len(run.evaluations) > 1 and rewards:
        pictures.append(_rewards(run, rewards, optimised))
    for names, caption in (
        (("loss",), "Loss of each step."),
        (("reward", "reward/raw"), "Reward of the training samples."),
        (("accuracy",), "Share of training pairs ranked (of labels told) rightly."),
        (("margin",), "Lead of the chosen answer."),
        (("logp_chosen", "logp_rejected"), "Log-probability of a token of chosen and rejected answers."),
        (("kl",), "KL to the reference, nats an answer."),
        (("length",), "Length of answers in tokens."),
    ):
        columns = {n: run.column(n) for n in names if len(run.column(n)) > 1}
        if columns:
            pictures.append(_lines(columns, caption))
    return pictures


def _rewards(run: Run, names: Sequence[str], optimised: str) -> Picture:
    """Optimised and other rewards over steps, each on its own axis scaled to its range: what matters is who turns."""
    figure, axis = axes(6.4, 3.0)
    steps = [e["step"] for e in run.evaluations]
    for i, name in enumerate(names):
        own = axis if i == 0 else axis.twinx()
        colour = ACCENT if name == f"reward/{optimised}" else TRUTH
        own.plot(steps, [e.get(name, math.nan) for e in run.evaluations], color=colour, marker="o", ms=3, lw=1.8)
        own.set_ylabel(name.removeprefix("reward/"), color=colour, fontsize=8)
        own.tick_params(axis="y", colors=colour, labelsize=7)
        own.spines[["top"]].set_visible(False)
        if i > 1:
            own.spines["right"].set_position(("axes", 1 + 0.16 * (i - 1)))
    axis.set_xlabel("step")
    return picture(figure, f"Held-out prompts: what was optimised ({optimised}) and what was not.")


def _lines(columns: Mapping[str, Sequence[float]], caption: str) -> Picture:
    figure, axis = axes(3.6, 2.2)
    for (name, values), colour in zip(columns.items(), (ACCENT, TRUTH), strict=False):
        axis.plot(range(1, len(values) + 1), values, color=FAINT if len(values) > 30 else colour, lw=1)
        if len(values) > 30:
            axis.plot(range(1, len(values) + 1), _smooth(values), color=colour, lw=1.8, label=name)
        else:
            axis.lines[-1].set_label(name)
    if len(columns) > 1:
        axis.legend(frameon=False, fontsize=7)
    axis.set_xlabel("step")
    return picture(figure, caption)


def _distributions(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Picture]:
    pictures = []
    for name in before[0]["rewards"] if before else []:
        a, b = ([r["rewards"][name] for r in rows if r["rewards"][name] is not None] for rows in (before, after))
        if not a or not b:
            continue
        figure, axis = axes(3.6, 2.2)
        low, high = min(*a, *b), max(*a, *b)
        edges = [low + (high - low or 1) * i / 24 for i in range(25)]
        axis.hist(a, edges, color=FAINT, label="before")
        axis.hist(b, edges, color=ACCENT, alpha=0.6, label="after")
        axis.legend(frameon=False, fontsize=7)
        axis.set_xlabel(name)
        pictures.append(picture(figure, f"{name} of held-out answers, before and after."))
    return pictures


def _side_by_side(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], folder: Path, most: int = 24
) -> list[dict[str, Any]]:
    def shown(*rows: Mapping[str, Any]) -> list[Path]:
        return [folder / r["completion"] for r in rows if r["completion"].endswith(".png")]

    def prompt(p: Any) -> str:
        return p if isinstance(p, str) else "\n".join(f"{m['role']}: {m['content']}" for m in p)

    return [
        {"prompt": prompt(b["prompt"]), "before": b["completion"], "after": a["completion"],
         "pictures": [_embedded(path) for path in shown(b, a)], "wide": any(map(_strip, shown(b, a))),
         "scores": [(n, number(b["rewards"][n]), number(a["rewards"][n]), _aspects(n, b, a)) for n in b["rewards"]]}
        for b, a in list(zip(before, after, strict=False))[:most]
    ]  # fmt: skip


def _aspects(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What a score consists of, before and after."""
    mine = {n: n.partition("/")[2] for n in before.get("aspects", {}) if n.startswith(f"{name}/")}
    return ", ".join(f"{a} {number(before['aspects'][n])} → {number(after['aspects'][n])}" for n, a in mine.items())


def _embedded(path: Path) -> str | None:
    """A picture file as a data address, None without one."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else None


def _strip(path: Path) -> bool:
    """Whether a PNG is at least twice as wide as high, as strips of clips are."""
    head = path.read_bytes()[16:24] if path.is_file() else b""
    width, height = struct.unpack(">II", head) if len(head) == 8 else (0, 1)
    return bool(width >= 2 * height)


def _smooth(values: Sequence[float], share: float = 0.1) -> list[float]:
    out, level = [], values[0]
    for v in values:
        level += share * (v - level)
        out.append(level)
    return out


__all__ = ["Alarm", "Picture", "write_report"]
