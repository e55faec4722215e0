"""accord reward evaluate: can this reward be trusted?"""

from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from accord.cli.columns import with_context
from accord.cli.data import at_least_one, say
from accord.cli.embedded import rows_of
from accord.cli.heldout import cluster, rated_pairs
from accord.cli.intake import Intake, no_preference, of_kind
from accord.cli.lengths import fits
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.errors import ConfigError, wanted
from accord.evaluation.benchmarks import benchmark_rows, rewardbench, rm_bench
from accord.evaluation.newcomers import Personal, known, of_nobody
from accord.evaluation.trust import Trust, consistency, write_card, write_page
from accord.evaluation.trust import evaluate as tested
from accord.evaluation.trust.card import figures
from accord.feedback import Comparison, Ranking, Rating, read

TOTALS = ("Score", "mean")
"""What a benchmark publishes of all its pairs together."""


def evaluate(
    reward: RewardSpec,
    data: str,
    against: list[str] | None = None,
    out: str | None = None,
    card: bool = False,
    contrast: str | None = None,
    probes: int = 200,
    by: list[str] | None = None,
    people: bool = False,
    known_by: int | None = None,
    aspect: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    cluster_by: str = "prompt",
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    json: bool = False,
) -> None:
    """Test a reward on comparisons that it hasn't seen: accuracy, calibration, consistency, bias, noise, over-optimisation.

    Args:
        reward: a saved reward, a hub reward model, file.py:function, http://server, or rules and judges by name.
        data: comparisons, rankings or ratings; benchmarks as they are published (RewardBench, RM-Bench, LLMBar, JudgeBench …).
        against: further rewards to compare it with; the page shows where they contradict each other most.
        out: folder for trust.html and trust.json.
        card: write what was measured into the card beside a saved reward.
        contrast: a file of contrast sets, whose records come by twos (Contrast-Instructions); without, requests of the data that are alike.
        probes: so many pairs are asked about again in the other order, rewritten and with ploys; 0 for none.
        by: columns whose values are told apart; without, subset and annotator.
        people: where a pair lists votes, measure on each person's own.
        known_by: verdicts by which each person is known to a reward that tells people apart, which is measured on their others; without, as
            somebody of whom nothing is known.
        aspect: what of ratings makes pairs; without, overall or the first one's first.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        cluster_by: what makes pairs dependent, for the intervals: prompt, or a column.
        batch_size: pairs at once.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
        json: print JSON.
    """
    at_least_one(batch_size=batch_size, known_by=known_by)
    wanted(probes >= 0, "probes must be at least 0", probes)
    for spec in (reward, *(against or ())):
        check_reward(spec)
    if card and not (isinstance(reward, str) and Path(reward).is_dir()):
        raise ConfigError(f"--card writes beside a saved reward, but {reward!r} is no folder")
    if reward in (against or ()):
        raise ConfigError(f"--against {reward!r} is the reward itself: compare it with others")
    intake = Intake.read(
        benchmark_rows(rows_of(data, [Comparison], limit=limit), persons=people),
        columns,
        skip_bad,
        limit,
        chat,
        name=data,
    )
    intake.change(with_context)
    unrated = intake.narrow(aspect)
    comparing = of_kind((Comparison, Ranking, Rating), "the measure compares")
    usable = intake.sift(intake.records, comparing, unrated, no_preference, tied, purpose="measure on")
    sets = None if contrast is None else _contrasts(contrast)
    opened, others = (
        open_reward(reward, device, dtype),
        {name: open_reward(name, device, dtype) for name in against or ()},
    )
    usable = intake.sift(usable, *(fits(intake, r) for r in (opened, *others.values())), purpose="measure on")
    pairs = [*intake.pairs(usable), *rated_pairs(usable.of(Rating))]
    if not pairs:
        raise ConfigError(f"{data}: no two answers of one prompt are rated differently, so there is nothing to compare")
    who, judge = as_whom(known_by) if known_by or of_nobody(opened) else "", opened
    if known_by is not None:
        if not isinstance(opened, Personal):
            raise ConfigError(
                f"known_by={known_by}: {reward} doesn't tell people apart by what they said; leave it out"
            )
        judge, pairs = known(opened, pairs, known_by)
        cluster_by = "newcomer"
    told_apart = None if sets is None else consistency(opened, sets, batch_size=batch_size)
    for column in by or ():
        if all((p.annotator if column == "annotator" else p.columns.get(column)) is None for p in pairs):
            raise ConfigError(
                f"--by {column!r}: no pair says; they have {', '.join(sorted(pairs[0].columns)) or 'no columns'}"
            )
    intake.tell(to_measure_on=len(usable))
    screen = Console(stderr=True)
    with Progress(console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task("pairs", total=None)
        found = tested(judge, pairs, usable if known_by is None else (), others=others, by=by or ("subset", "annotator"), probes=probes, name=reward if isinstance(reward, str) else dumps(reward),
                       clusters=[cluster(p, cluster_by) for p in pairs], batch_size=batch_size, tick=lambda n: bar.advance(task, n))  # fmt: skip
    if told_apart is not None:
        found = replace(found, contrast=told_apart)
    published = {"rewardbench": rewardbench(found.pairs, found.leads[found.reward]),
                 "rm_bench": rm_bench(found.pairs, found.leads[found.reward])}  # fmt: skip
    if found.left or intake.left or limit is not None:
        # Of a part of a benchmark the parts that it has are told, but no total.
        published = {n: {k: v for k, v in table.items() if k not in TOTALS} for n, table in published.items()}
    more = {**{k: v for k, v in published.items() if v}, "intake": intake.row()}
    if out is not None:
        say(f"page: {write_page(found, out, measured_on=data, **more)}")
    if card:
        say(f"card: {write_card(found, str(reward), data, who=who)}")
    print(dumps({**found.row(), **more}) if json else _words(found, f"{cluster_by}s{who and ', '}{who}", published))
    if out is None and not json:
        say("--out FOLDER writes all of it as a page and as JSON")


def as_whom(known_by: int | None) -> str:
    """For whom a reward spoke that tells people apart."""
    return "as somebody of whom nothing is known" if known_by is None else f"as new people, each known by {known_by} others of their verdicts"  # fmt: skip


def _contrasts(file: str) -> list[Comparison]:
    return [with_context(p) for p in read(benchmark_rows(file)).of(Comparison)]


def tied(record: Any) -> str | None:
    """Leaves out comparisons of which nobody said which is better."""
    return "a tie" if isinstance(record, Comparison) and record.strength == 0 else None


def _words(found: Trust, clusters: str, published: dict[str, dict[str, float]]) -> str:
    lines = [
        f"accuracy {found.accuracy} over {found.accuracy.clusters} {clusters}",
        *(f"{name}: {value}" for name, value in figures(found)),
    ]
    if found.left:
        lines.append(f"does not apply to {found.left} pairs more")
    for name, table in published.items():
        if table:
            lines.append(f"{name}: " + ", ".join(f"{k} {100 * v:.1f}" for k, v in table.items()))
    lines += [f"fault: {f}" for f in found.faults] or [f"faults: {found.without_faults}"]
    if found.undecided:
        lines.append(f"can't be told: {'; '.join(found.undecided)}")
    if found.untested:
        lines.append(f"not tested, or on too little: {', '.join(found.untested)}")
    return "\n".join(lines)
