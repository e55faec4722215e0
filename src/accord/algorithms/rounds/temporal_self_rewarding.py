"""Temporal self-rewarding: the past supplies what is rejected, the future what is chosen."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from accord.algorithms.rounds.self_rewarding import Judges, SelfRewarding, by_rubric
from accord.algorithms.rounds.trainer import Round
from accord.engine import Algorithm, fit
from accord.feedback import Comparison
from accord.rewards import Reward
from accord.rewards.asking import Generative


class TemporalSelfRewarding(SelfRewarding):
    """``chosen: the best of now and of the future; rejected: the worst of now and of the start``, the future being DPO of now on the best of
    now over that worst; it only shows the way, and is thrown away. Chosen and rejected stay apart, where plain self-rewarding's grow
    alike (Wang et al. 2025, arXiv 2508.06026).

    All are judged by the policy as it is now. Ties fall to its own answers.

    Args:
        reward: judges the answers in place of the policy itself. judge: how the policy judges: a frozen policy to a reward.
        rounds: how many, each with two trainings. samples: answers to each prompt, of each of the three. sampling: how they are drawn.
        beta: of DPO. past: take rejected answers from the start too. future: take chosen answers from the future too.
    """

    def __init__(self, policy: Generative, reward: Reward | None = None, *, judge: Judges = by_rubric, rounds: int = 2, samples: int = 7,
                 sampling: Any = None, beta: float = 0.1, past: bool = True, future: bool = True) -> None:  # fmt: skip
        super().__init__(policy, reward, judge=judge, rounds=rounds, samples=samples, sampling=sampling, beta=beta)
        self.past, self.future = past, future

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Comparison]]:
        mine = self.pool(now, "now", now.snapshots[-1], rows)
        rejected = [mine, self.pool(now, "start", now.snapshots[0], rows)] if self.past else [mine]
        chosen = [mine]
        if self.future:
            ahead = self.ahead(now, self.pairs(rows, chosen, rejected))
            chosen = [mine, self.pool(now, "future", ahead, rows)]
        return self.learner(now), self.pairs(rows, chosen, rejected)

    def ahead(self, now: Round, pairs: Sequence[Comparison]) -> Any:
        """The policy after a training on these pairs; the round's own stays as it is."""
        policy = copy.deepcopy(now.policy)
        fit(self.learner(replace(now, policy=policy)), pairs, replace(now.training, seed=now.seed + 1))
        return policy
