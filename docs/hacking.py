"""docs/alarms.md: what the alarms are worth, from the courses of all committed runs."""

from pathlib import Path

from accord.reproduce.alarms import FALSE, Quality, committed, judged

HERE = Path(__file__).parent


def alarms() -> None:
    """The page."""
    courses, deltas = committed()
    found = judged(courses, deltas)
    lines = [
        "# How good the alarms are", "",
        "Computed by `make docs` from the course of every committed run of the [reproductions](reproductions.md), where the gold is known. A run was *hacked* if its gold "
        "ended over delta below its start, and *sound* if it ended no lower than it began; those between are left out. No alarm sees the gold. Each is asked how many of "
        f"the hacked runs it finds where it may ring in {FALSE:.0%} of the sound ones, and how early: by which part of a run it rang before gold had fallen by delta. Intervals "
        "are 95 %, over seeds. One that is no better than chance goes.", "",
    ]  # fmt: skip
    if not found:
        lines += [
            f"There is nothing to say yet: of {len(courses)} runs with a course, no world has both sound and hacked ones.",
            "",
        ]
    else:
        lines += ["| world | alarm | sound / hacked runs | finds | before gold fell, part of a run | as it ships: rings in sound / hacked | |",
                  "|---|---|---|---|---|---|---|", *map(row, found), ""]  # fmt: skip
    (HERE / "alarms.md").write_text("\n".join(lines))


def row(q: Quality) -> str:
    ahead = f"{q.ahead.mean:+.2f} [{q.ahead.low:+.2f}, {q.ahead.high:+.2f}]" if q.ahead else ""
    share = f"{q.found.value:.0%} [{q.found.low:.0%}, {q.found.high:.0%}]"
    verdict = "" if q.better_than_chance else "no better than chance: it goes"
    return f"| {q.world} | {q.alarm} | {q.sound} / {q.found.n} | {share} | {ahead} | {q.shipped[0]:.0%} / {q.shipped[1]:.0%} | {verdict} |"
