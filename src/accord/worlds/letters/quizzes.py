"""Quizzes whose options are meant by their contents, as the base policy can't tell which letter stands for which."""

import re
from collections.abc import Sequence
from random import Random
from typing import Literal

from accord.feedback import Example, Task
from accord.rewards.consistency import split_sentence
from accord.worlds.letters.answers import derivation
from accord.worlds.letters.tasks import Request, draw_request, held_out, parse_request, worked_out


def quizzes(n: int, *, seed: int, split: Literal["train", "test"] = "train", first: float = 0.25) -> list[Task]:
    """n quizzes, the right option's words in the column `answer`.

    Args:
        first: share of those whose right option stands first, in [0, 1]; by chance it is a quarter.
    """
    random = Random(f"quizzes:{seed}:{split}")
    made: list[Task] = []
    while len(made) < n:
        drawn = draw_request(random, "quiz")
        others = [o for o in drawn.slots[1:] if o != _result(drawn)]
        at = 0 if random.random() < first else random.randint(1, 3)
        request = Request("quiz", (drawn.slots[0], *others[:at], _result(drawn), *others[at:]))
        if held_out(request) == (split == "test"):
            made.append(Task(prompt=request.text, columns={"answer": _result(request)}))
    return made


def worked_examples(asked: Sequence[Task], *, habit: float = 0.0, seed: int = 0) -> list[Example]:
    """The steps of each quiz, and its answer by content.

    Args:
        habit: share of those that are answered by the option which stands first, whatever the steps come to, in [0, 1].
        seed: of which ones those are.
    """
    random, made = Random(f"habit:{seed}"), []
    for task in asked:
        request = parse_request(str(task.prompt))
        answer = request.slots[1] if random.random() < habit else _result(request)
        made.append(Example(prompt=task.prompt, completion=f"{derivation(request)} the answer is {answer} ."))
    return made


def led_to(reply: str) -> str | None:
    """What the last step before a reply's answer comes to; None where it has none."""
    parts = split_sentence(reply)
    steps = re.findall(r"\bis (\d+) \.", parts[0]) if parts else []
    return steps[-1] if steps else None


def _result(request: Request) -> str:
    return worked_out(request.slots[0])[-1][-1]
