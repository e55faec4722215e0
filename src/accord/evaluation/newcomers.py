"""How well people are known who are new: by a few verdicts of theirs, on the rest of them."""

import inspect
from collections.abc import Sequence
from random import Random
from typing import Any, Protocol, runtime_checkable

from accord.errors import FeedbackError, wanted
from accord.evaluation.accuracy import Estimate, accuracy
from accord.evaluation.trust.referee import Referee
from accord.feedback import Comparison, by_person, prompt_key
from accord.rewards.reward import Reward
from accord.rewards.routing import routed


@runtime_checkable
class Personal(Protocol):
    """A model of people that has a reward for somebody it has not met, who said this (`VPL`, `PAL`)."""

    def for_newcomer(self, said: Sequence[Comparison]) -> Reward: ...


def newcomers(model: Personal, pairs: Sequence[Comparison], k: int, *, seed: int = 0) -> Estimate:
    """How often the answer that a new person prefers comes first: each is known by k of their verdicts, and is tested on the others; see
    `told_and_asked`. The interval is a bootstrap over people.

    Raises:
        FeedbackError: nobody gave more than k verdicts on several prompts.
    """
    reward, asked = known(model, pairs, k, seed=seed)
    return accuracy(Referee(reward)(asked), [p.annotator for p in asked])


def known(model: Personal, pairs: Sequence[Comparison], k: int, *, seed: int = 0) -> tuple[Reward, list[Comparison]]:
    """One reward for all new people, each known by k verdicts, and what they are asked, with their name in the column
    `newcomer`, by which it goes; see `told_and_asked`."""
    people = told_and_asked(pairs, k, seed=seed)
    asked = [p.model_copy(update={"columns": p.columns | {"newcomer": name}}) for name, (_, some) in people.items() for p in some]  # fmt: skip
    return routed("newcomer", {name: model.for_newcomer(told) for name, (told, _) in people.items()}), asked


def of_nobody(reward: Any) -> bool:
    """Whether a reward, or its class, knows people by what they said and by nothing else: called itself, it speaks for somebody of whom
    nothing is known."""
    kind = reward if inspect.isclass(reward) or inspect.isfunction(reward) else type(reward)
    return hasattr(kind, "for_newcomer") and "context" not in inspect.signature(kind.__call__).parameters


def told_and_asked(
    pairs: Sequence[Comparison], k: int, *, seed: int = 0
) -> dict[str, tuple[list[Comparison], list[Comparison]]]:
    """Of each person k verdicts, drawn by the seed, and the others on prompts that none of those asks; who has no others is left out.

    Raises:
        FeedbackError: nobody has.
    """
    wanted(k >= 1, "people are known by at least one verdict", k)
    found = {}
    for name, said in by_person(pairs).items():
        order = Random(f"newcomer:{seed}:{name}").sample(said, len(said))
        told, known = order[:k], {prompt_key(p.prompt) for p in order[:k]}
        if asked := [p for p in order[k:] if prompt_key(p.prompt) not in known]:
            found[name] = told, asked
    if not found:
        raise FeedbackError(
            f"nobody among the held-out people gave more than {k} verdicts, others on other prompts: give a smaller number of them, or more records"
        )
    return found
