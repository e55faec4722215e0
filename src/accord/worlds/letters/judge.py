"""The same policy as a judge: asked which of two replies to a request is better, it says one word."""

from collections.abc import Sequence
from math import exp
from random import Random
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from accord.feedback import Example, Task
from accord.policies import LanguagePolicy
from accord.policies.base import Group
from accord.worlds.letters.compose import compose
from accord.worlds.letters.gold import gold
from accord.worlds.letters.tasks import KINDS, Kind, Request, parse_request, tasks

SURE, CARELESS = 12.0, 0.2
"""The corpus's judges: log-odds that the whole range of gold is worth to them, and the share of verdicts they toss for."""
VERDICTS = ("first", "second")


def compare(prompt: str, first: str, second: str) -> str:
    """The judge's prompt."""
    return f"compare request : {prompt} first : {first} second : {second} which is better ?"


def verdict(completion: str) -> int | None:
    """Which reply a verdict prefers, 0 or 1; None for any other text."""
    words = completion.split()
    return VERDICTS.index(words[0]) if words in (["first", "."], ["second", "."]) else None


def prefers(policy: LanguagePolicy, prompts: Sequence[str], first: Sequence[str],
            second: Sequence[str]) -> Float[Tensor, "n"]:  # fmt: skip
    """The policy's probability that the first reply is better, of the two verdicts alone, in the order shown."""
    said = tuple(f"{v} ." for v in VERDICTS)
    groups = [Group(compare(*texts), said) for texts in zip(prompts, first, second, strict=True)]
    logp = policy.likelihood(groups).policy.reshape(-1, 2)
    return (logp[:, 0] - logp[:, 1]).sigmoid()


def judged(request: Request, random: Random, *, flawless: bool = False) -> Example:
    """A verdict on two composed replies, as the corpus has it; the right one, if flawless."""
    first, second = compose(request, random), compose(request, random)
    gap = SURE * _gap(request.text, first, second) * (10 if flawless else 1)
    tossed = not flawless and random.random() < CARELESS
    wins = random.random() < (0.5 if tossed else 1 / (1 + exp(-gap)))
    return Example(prompt=compare(request.text, first, second), completion=f"{VERDICTS[not wins]} .")


def judge_tasks(n: int, *, seed: int = 0, split: Literal["train", "test"] = "train", kinds: Sequence[Kind] = KINDS,
                gap: float = 0.05) -> list[Task]:  # fmt: skip
    """Pairs of composed replies to judge; column `answer` holds the right verdict, `gap` how much better it is in gold.

    Args:
        gap: the least difference in gold.
    """
    random = Random(f"judge:{seed}:{split}")
    made = []
    for task in tasks(n, seed=seed, split=split, kinds=kinds):
        request, between = parse_request(str(task.prompt)), 0.0
        while abs(between) < gap:
            first, second = compose(request, random), compose(request, random)
            between = _gap(request.text, first, second)
        made.append(Task(prompt=compare(request.text, first, second),
                         columns={"answer": VERDICTS[between < 0], "gap": abs(between), "request": request.text,
                                  "replies": [first, second]}))  # fmt: skip
    return made


def _gap(prompt: str, first: str, second: str) -> float:
    said = gold(prompts=[prompt] * 2, completions=[first, second]).values
    return float(said[0] - said[1])
