"""What reproductions on noisy labels share: replies of mixed quality to compare, heads that learn from labels, how well one ranks, who was right.

Replies come from the world's grammar, as the base policy's do that has learned from it, and heads read their words: a seed costs seconds, so that many are cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.feedback import Comparison, Task
from accord.policies.meter import metered
from accord.reproduce.claim import Measures
from accord.reproduce.letters_rewards import concordance
from accord.reproduce.luck import luck
from accord.rewards import HeadReward, Reward, WordFeatures, score
from accord.worlds.letters import compose, gold, parse_request, tasks

LEARNING: dict[str, Any] = {"batch_size": 64, "lr": 1e-3, "schedule": "cosine", "warmup": 0.05}
WORDS = WordFeatures(1024)
TESTS, OF = 200, 16
"""Held-out requests, and replies to each."""


@dataclass(frozen=True)
class Replies:
    """Replies of the grammar, so many in a row to each request."""

    prompts: list[str]
    completions: list[str]
    each: int

    @classmethod
    def of(cls, asked: Sequence[Task], each: int, seed: int) -> "Replies":
        prompts = [str(t.prompt) for t in asked for _ in range(each)]
        said = [compose(parse_request(p), Random(f"reply:{seed}:{i}")) for i, p in enumerate(prompts)]
        return cls(prompts, said, each)

    def shown(self) -> tuple[list[Task], list[str], list[str]]:
        """The first two replies to each request, to be compared."""
        at = range(0, len(self.prompts), self.each)
        return (
            [Task(prompt=self.prompts[i]) for i in at],
            [self.completions[i] for i in at],
            [self.completions[i + 1] for i in at],
        )

    def worth(self) -> Float[Tensor, "r e"]:
        return gold(prompts=self.prompts, completions=self.completions).values.reshape(-1, self.each)

    def scored(self, reward: Reward) -> Float[Tensor, "r e"]:
        with metered():
            return score(reward, prompts=self.prompts, completions=self.completions).values.reshape(-1, self.each)


@lru_cache(maxsize=4)
def asked(seed: int, requests: int, each: int = 2) -> Replies:
    """Of training requests."""
    return Replies.of(tasks(requests, seed=seed), each, seed)


@lru_cache(maxsize=1)
def held_out(seed: int) -> tuple[Replies, Tensor]:
    """Of held-out requests, with what they are worth."""
    replies = Replies.of(tasks(TESTS, seed=seed, split="test"), OF, seed)
    return replies, replies.worth()


def head(seed: int, hidden: int = 64, number: int = 0) -> HeadReward:
    """One that knows nothing; number: which of several, by its first weights."""
    return HeadReward(WORDS, hidden=hidden, seed=luck(seed) + number)


def taught(rows: Sequence[Comparison], seed: int, *, hidden: int = 64, number: int = 0, **training: Any) -> HeadReward:
    """A head that has learned from these labels, in an order of its own."""
    return head(seed, hidden, number).fitted(rows, **{"seed": luck(seed) + number, **LEARNING, **training})


def ranked(reward: Reward, seed: int) -> Measures:
    """How often a reward orders two replies to a request as the gold does, and the gold of the one of 16 that it likes best."""
    replies, true = held_out(seed)
    said = replies.scored(reward)
    return {"gold": float(true.gather(1, said.argmax(1, keepdim=True)).mean()), "accuracy": concordance(said, true)}


def right(pairs: Sequence[Comparison]) -> Float[Tensor, "n"]:
    """Whether each label is what the gold says: 1, 0, or 1/2 of answers that are worth the same."""
    with metered():
        worth = gold(prompts=[str(p.prompt) for p in pairs for _ in "cr"],
                     completions=[str(c) for p in pairs for c in (p.chosen, p.rejected)]).values  # fmt: skip
    return (worth[0::2] - worth[1::2]).sign().add(1).div(2)


def turned(pairs: Sequence[Comparison], share: float, seed: int) -> list[Comparison]:
    """Pairs of which a share is labelled the other way round."""
    chance = torch.rand(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    return [
        p.model_copy(update={"chosen": p.rejected, "rejected": p.chosen}) if c < share else p
        for p, c in zip(pairs, chance, strict=True)
    ]
