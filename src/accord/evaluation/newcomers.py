"""How well people are known who are new: by a few verdicts of theirs, on the rest of them."""

from collections.abc import Sequence
from random import Random
from typing import Protocol, runtime_checkable

import torch

from accord.errors import FeedbackError, wanted
from accord.evaluation.accuracy import Estimate, accuracy
from accord.evaluation.trust.referee import Referee
from accord.feedback import Comparison, by_person
from accord.rewards.reward import Reward


@runtime_checkable
class Personal(Protocol):
    """A model of people that has a reward for somebody it has not met, who said this (`VPL`, `PAL`)."""

    def for_newcomer(self, said: Sequence[Comparison]) -> Reward: ...


def newcomers(model: Personal, pairs: Sequence[Comparison], k: int, *, seed: int = 0) -> Estimate:
    """How often the answer that a new person prefers comes first: each is known by k of their verdicts, drawn by the seed, and is
    tested on the others. The interval is a bootstrap over people.

    Raises:
        FeedbackError: nobody gave more than k verdicts.
    """
    wanted(k >= 1, "people are known by at least one verdict", k)
    leads, people = [], []
    for name, said in by_person(pairs).items():
        if len(said) > k:
            order = Random(f"newcomer:{seed}:{name}").sample(said, len(said))
            leads.append(Referee(model.for_newcomer(order[:k]))(order[k:]))
            people += [name] * (len(said) - k)
    if not people:
        raise FeedbackError(
            f"nobody among the held-out people gave more than {k} verdicts: give a smaller number of them"
        )
    return accuracy(torch.cat(leads), people)
