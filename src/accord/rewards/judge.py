"""Judges: somebody is asked about completions in words, and what they say becomes `Scores`."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.store import Blobs
from accord.errors import ConfigError, RewardError
from accord.feedback import Prompt, is_picture, pictures_of, prompt_key, text_of, text_of_completion
from accord.feedback.formats import PICTURES
from accord.policies.diffusion import as_picture
from accord.rewards.answers import Parse, number
from accord.rewards.asking import Asked
from accord.rewards.scores import Scores

SCORE = """Here is a request and an answer to it.

Request:
{prompt}

Answer:
{completion}

How good is the answer, from 1 (useless) to 10 (could not be better)? End with the number alone."""

COMPARE = """Here is a request and two answers to it.

Request:
{prompt}

Answer A:
{first}

Answer B:
{second}

Which answer is better? Say A or B alone."""

Template = str | Callable[..., Prompt]
"""A question with {prompt} and what is asked about; {names} of further columns are filled in as well, pictures among them. Or a function of these."""

_SHOWN = re.compile("\0(\\d+)\0")


class Judge:
    """A number for each answer, that somebody was asked for.

    Args:
        asked: `PolicyJudge` or `Endpoint`. template: the question, with {prompt}, {completion} and any columns.
        parse: reads its verdict; what it can't read is not judged (`parsed`, `valid`), never guessed.
        low, high: the verdict's range, which becomes [0, 1]; None leaves it as it is. tries: asked so often, its mean counts.
        folder: where verdicts are kept between runs.
    """

    def __init__(self, asked: Asked, template: Template = SCORE, parse: Parse = number(1, 10), *, low: float | None = 1, high: float | None = 10,
                 tries: int = 1, folder: Any = None) -> None:  # fmt: skip
        if tries < 1 or (low is None) != (high is None):
            raise ConfigError(
                f"a judge wants tries >= 1, and both or none of low and high, but got {tries}, {low}, {high}"
            )
        self.asked, self.template, self.parse, self.low, self.high, self.tries = (
            asked,
            template,
            parse,
            low,
            high,
            tries,
        )
        self._kept = Blobs(folder, "verdicts")

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        questions = [filled(self.template, prompt=p, completion=c, **{k: v[i] for k, v in columns.items()})
                     for i, (p, c) in enumerate(zip(prompts, completions, strict=True))]  # fmt: skip
        said = self._asked(questions)
        read = [[v for t in texts if (v := self.parse(t)) is not None] for texts in said]
        parsed = torch.tensor([bool(r) for r in read])
        values = torch.tensor([sum(map(float, r)) / len(r) if r else 0.0 for r in read])
        if self.low is not None and self.high is not None:
            values = (values - self.low) / (self.high - self.low)
        spread = torch.tensor([float(torch.tensor(list(map(float, r))).std()) if len(r) > 1 else 0.0 for r in read])
        return Scores(values.masked_fill(~parsed, 0.0), parsed, std=spread if self.tries > 1 else None,
                      text=["\n---\n".join(t) for t in said], parsed=parsed)  # fmt: skip

    def _asked(self, questions: list[Prompt]) -> list[list[str]]:
        """What it wrote, from what is kept where it was asked before."""
        mark = self.asked.fingerprint
        keys = [Blobs.key(mark, self.tries, prompt_key(q)) for q in questions]
        known = self._kept.get(keys) if mark else {}
        todo = {k: q for k, q in zip(keys, questions, strict=True) if k not in known}
        written = dict(zip(todo, self.asked.write(list(todo.values()), self.tries), strict=True)) if todo else {}
        if mark:
            self._kept.put({k: "\x1e".join(t).encode() for k, t in written.items()})
        return [written[k] if k in written else known[k].decode().split("\x1e") for k in keys]


class PairJudge:
    """Which of two answers is better: ``W(y, a) = 1/2 [J(y, a) + 1 - J(a, y)]``, J the probability that the first shown one is, from the
    two labels' log-probabilities. Asked in both orders, a liking for a place cancels: W(y, a) + W(a, y) = 1, and W(y, y) = 1/2.

    As a reward it is the chance to beat the `anchor` of each prompt (Xu et al. 2025, arXiv 2504.04950).

    Args:
        asked: `PolicyJudge` or `Endpoint`. template: with {prompt}, {first} and {second}. labels: of the first and the second;
            each begins the answer.
        parse: reads a written verdict instead, one of the labels; for judges that think first, or tell no log-probabilities.
        anchor: column of the answers to beat; a list has several, and their mean counts.
        both: ask in both orders.
    """

    def __init__(self, asked: Asked, template: Template = COMPARE, labels: tuple[str, str] = ("A", "B"), *, parse: Parse | None = None,
                 anchor: str = "anchor", both: bool = True) -> None:  # fmt: skip
        self.asked, self.template, self.labels, self.parse, self.anchor, self.both = (
            asked,
            template,
            labels,
            parse,
            anchor,
            both,
        )

    @property
    def fingerprint(self) -> str:
        mark = self.asked.fingerprint
        return f"{mark}:{self.template}:{self.labels}:{self.both}" if mark else ""

    def first_wins(self, prompts: Sequence[Prompt], first: Sequence[Any], second: Sequence[Any]) -> Float[Tensor, "n"]:
        """J: how sure it is that the answer which is shown first is the better; NaN where its verdict can't be read."""
        questions = [
            filled(self.template, prompt=p, first=a, second=b) for p, a, b in zip(prompts, first, second, strict=True)
        ]
        if self.parse is None:
            found = self.asked.choose(questions, self.labels)
            return torch.sigmoid(found[:, 0] - found[:, 1])
        said = [self.parse(t[0]) for t in self.asked.write(questions)]
        worth = {self.labels[0]: 1.0, self.labels[1]: 0.0}
        return torch.tensor([worth.get(str(s), float("nan")) for s in said])

    def wins(self, prompts: Sequence[Prompt], ours: Sequence[Any], theirs: Sequence[Any]) -> Float[Tensor, "n"]:
        """W: how sure it is that ours is better than theirs; NaN where a verdict can't be read."""
        there = self.first_wins(prompts, ours, theirs)
        return (there + 1 - self.first_wins(prompts, theirs, ours)) / 2 if self.both else there

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        if self.anchor not in columns:
            raise RewardError(
                f"this judge compares with the column {self.anchor!r}, but the data have only {sorted(columns)}"
            )
        anchors = [a if isinstance(a, list) else [a] for a in columns[self.anchor]]
        of = [i for i, a in enumerate(anchors) for _ in a]
        found = self.wins([prompts[i] for i in of], [completions[i] for i in of], [a for some in anchors for a in some])
        values = torch.stack([w.mean() for w in found.split([len(a) for a in anchors])])
        return _read(values)

    def ranked(self, prompt: Prompt, completions: Sequence[Any]) -> Float[Tensor, "n"]:
        """How often each of several answers beats the others, in [0, 1]."""
        pairs = list(permutations(range(len(completions)), 2))
        found = self.first_wins(
            [prompt] * len(pairs), [completions[i] for i, _ in pairs], [completions[j] for _, j in pairs]
        )
        table = torch.full((len(completions),) * 2, 0.5)
        table[tuple(torch.tensor(pairs).T)] = found.detach().float()
        beats = (table + 1 - table.T) / 2
        return (beats.sum(1) - 0.5) / max(1, len(completions) - 1)


class Tournament:
    """How often each answer beats the others to its prompt, by a `PairJudge`: a reward without an anchor."""

    def __init__(self, judge: PairJudge) -> None:
        self.judge = judge

    def __call__(
        self, *, prompts: Sequence[Any], completions: Sequence[Any], group: Sequence[int], **columns: Any
    ) -> Scores:
        values = torch.zeros(len(completions))
        for g in dict.fromkeys(group):
            rows = [i for i, x in enumerate(group) if x == g]
            values[rows] = self.judge.ranked(prompts[rows[0]], [completions[i] for i in rows])
        return _read(values)


def filled(template: Template, **fields: Any) -> Prompt:
    """A question with its fields filled in; pictures, and those in files, are shown in their places."""
    if callable(template):
        return template(**fields)
    pictures: list[Any] = []
    said: Mapping[str, str] = {k: _words(k, v, pictures) for k, v in fields.items()}
    try:
        text = template.format_map(said)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"a judge's template asks for {error}, but there are only {', '.join(said)} (write {{{{ and }}}} for braces)"
        ) from None
    if not pictures:
        return text
    pieces = _SHOWN.split(text)  # words and numbers of pictures by turns
    parts = [
        {"type": "image", "image": pictures[int(p)]} if i % 2 else {"type": "text", "text": p}
        for i, p in enumerate(pieces)
    ]
    return [{"role": "user", "content": [p for p in parts if p.get("text") != ""]}]


def _words(name: str, value: Any, pictures: list[Any]) -> str:
    """A field in words, with a mark for each picture in it; those are put to the others."""
    shown = pictures_of(value) if name == "prompt" else _shown(value)
    marks = "".join(f"\0{i}\0" for i, _ in enumerate(shown, len(pictures)))
    pictures += shown
    return marks + (text_of(value) if name == "prompt" else "" if shown else text_of_completion(value) or str(value))


def _shown(value: Any) -> list[Any]:
    """The picture that a field is, or whose file it names."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.lower().endswith(PICTURES) and os.path.isfile(value)):  # fmt: skip
        return [as_picture(value)]
    return [value] if is_picture(value) else []


def _read(values: Float[Tensor, "n"]) -> Scores:
    parsed = ~values.isnan()
    return Scores(values.nan_to_num(0.0), parsed, parsed=parsed)
