"""Scores of a file's completions, all at once or part by part by workers of Ray, so that the file may be larger than memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from json import dumps, loads
from pathlib import Path
from typing import Any

import torch

from accord.cli.clips import with_frames
from accord.cli.columns import with_context
from accord.cli.intake import Intake, Verdict, answers_of, count, curated_away, kind_of, of_kind
from accord.cli.lengths import fits
from accord.cli.rewards import RewardSpec, open_reward
from accord.engine.run import added_to
from accord.engine.workers import mapped
from accord.feedback import Example, Feedback, Label, Rating, Record, as_conversation, stream
from accord.rewards import Reward, score
from accord.rewards.reward import reward_columns

PART = 1_000
"""Records that go to a worker together."""

SCORED = of_kind((Example, Label, Rating), "scoring takes")


@dataclass
class Scored:
    """What came of records.

    Attributes:
        lines: one of JSON for each that was scored. total: of the rewards of those to which it applies, of which there are `applies`.
        left: how many were left out, by kind and reason.
    """

    lines: list[str]
    total: float = 0.0
    applies: int = 0
    left: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def mean(self) -> str:
        return f"mean {self.total / self.applies:.4g}" if self.applies else "none of them applies"


def scored(reward: Reward, records: Sequence[Any], batch_size: int) -> Scored:
    """A line for each record: prompt, completion, reward (null where it does not apply)."""
    prompts, answers = [r.prompt for r in records], [answers_of(r)[0] for r in records]
    said = score(reward, prompts=prompts, completions=answers, batch_size=batch_size, **reward_columns(records))
    lines = [dumps({"prompt": p, "completion": c, "reward": v if ok else None})
             for p, c, v, ok in zip(prompts, answers, said.values.tolist(), said.valid.tolist(), strict=True)]  # fmt: skip
    values = said.values[said.valid].to(torch.float64)
    return Scored(lines, float(values.sum()), len(values))


@dataclass(frozen=True)
class Scoring:
    """The work on a part. Each worker opens the reward once."""

    reward: str
    data: str
    batch_size: int
    skip_bad: bool
    chat: bool
    device: str
    dtype: str

    def __call__(self, part: Sequence[Record]) -> Scored:
        reward = _opened(self.reward, self.device, self.dtype)
        shown = [with_frames(r, self.data) for r in part]
        rows = [with_context(as_conversation(r) if self.chat else r) for r in shown]
        whole: Verdict = fits(Intake(self.data, Feedback(tuple(rows)), self.skip_bad), reward)
        why = [next((w for v in (curated_away, SCORED, whole) if (w := v(r)) is not None), None) for r in rows]
        kept = [r for r, w in zip(rows, why, strict=True) if w is None]
        found = scored(reward, kept, self.batch_size) if kept else Scored([])
        found.left.update((kind_of(r), w) for r, w in zip(rows, why, strict=True) if w is not None)
        return found


@lru_cache(maxsize=1)
def _opened(spec: str, device: str, dtype: str) -> Reward:
    return open_reward(loads(spec), device, dtype)


def by_parts(reward: RewardSpec, data: str, out: Path, workers: int, *, columns: dict[str, str] | None, skip_bad: bool, chat: bool,
             batch_size: int, device: str, dtype: str) -> tuple[Scored, str]:  # fmt: skip
    """Score a file part by part into another; the sums, and what became of its records, in words.

    Raises:
        FeedbackError: a record is malformed, and those are not to be skipped.
    """
    work = Scoring(dumps(reward), data, batch_size, skip_bad, chat, device, dtype)
    skipped: list[str] | None = [] if skip_bad else None
    sums, lines = Scored([]), 0
    with added_to(out.absolute().parent) as new, (new / out.name).open("w") as file:
        for found in mapped(work, _parts(stream(data, columns=columns, skipped=skipped)), workers):
            file.writelines(f"{line}\n" for line in found.lines)
            lines, sums.total, sums.applies = lines + len(found.lines), sums.total + found.total, sums.applies + found.applies  # fmt: skip
            sums.left.update(found.left)
    if skipped:
        sums.left["record", "malformed"] += len(skipped)
    left = ", ".join(f"{count(n, kind)} ({why})" for (kind, why), n in sums.left.items())
    read = lines + sum(sums.left.values())
    return sums, f"read {count(read, 'record')}; left out {left or 'none'}; used {lines} scored"


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    left = iter(records)
    while some := list(islice(left, PART)):
        yield some
