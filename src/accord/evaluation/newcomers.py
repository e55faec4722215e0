"""How well people are known who are new: by a few verdicts of theirs, on the rest of them."""

from collections.abc import Sequence
from random import Random
from typing import Protocol, runtime_checkable

import torch

from accord.errors import FeedbackError, wanted
from accord.evaluation.accuracy import Estimate, accuracy
from accord.evaluation.trust.referee import Referee
from accord.feedback import Comparison, by_person, prompt_key
from accord.rewards.reward import Reward


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
    known = told_and_asked(pairs, k, seed=seed)
    leads = [Referee(model.for_newcomer(told))(asked) for told, asked in known.values()]
    return accuracy(torch.cat(leads), [name for name, (_, asked) in known.items() for _ in asked])


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
            f"nobody among the held-out people gave more than {k} verdicts, others on other prompts: give a smaller number of them"
        )
    return found
