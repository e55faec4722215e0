"""What somebody shows who knows how: replies as good as can be, and calls as they should be, for methods that learn from such."""

from collections.abc import Sequence
from random import Random

from accord.feedback import Example, Task
from accord.worlds.letters.answers import call_text
from accord.worlds.letters.compose import FLAWLESS, compose
from accord.worlds.letters.corpus import turns
from accord.worlds.letters.tasks import parse_request


def demonstrations(asked: Sequence[Task], seed: int = 0, *, wrong: float = 0.0) -> list[Example]:
    """A good reply to each request, with its columns; of a lookup its calls.

    Args:
        wrong: share of replies in [0, 1] that are as bad as can be in what they answer.
    """
    made = []
    for i, task in enumerate(asked):
        random = Random(f"demonstration:{seed}:{i}")
        wishes = {**FLAWLESS, "correct": 0} if random.random() < wrong else FLAWLESS
        request = parse_request(str(task.prompt))
        shown = next(turns(request, compose(request, random, unless_asked=wishes)))
        made.append(Example(prompt=task.prompt, completion=shown.completion, columns=task.columns))
    return made


def called(task: Task) -> str:
    """The calls that a lookup wants, as text."""
    calls = [(c["name"], *c["arguments"].values()) for c in task.columns["calls"]]
    return " ".join(f"<call> {call_text(*c)} </call>" for c in calls)
