"""Rewards from demonstrations, by maximum-likelihood inverse reinforcement learning."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from accord.algorithms.rollout.grpo import GRPO
from accord.engine import Training, derive, fit
from accord.errors import wanted
from accord.feedback import Comparison, Example
from accord.policies.capabilities import Samples
from accord.rewards import Reward


def irl_pairs(policy: Any, examples: Sequence[Example], sampling: Any = None, *, seed: int = 0) -> list[Comparison]:
    """Each demonstration over an answer of the policy's own: what a Bradley-Terry reward learns from in IRL."""
    drawn = policy.sample([e.prompt for e in examples], 1, sampling or policy.sampling_kind(), seed=seed).completions
    return [Comparison(prompt=e.prompt, chosen=e.completion, rejected=c, columns=e.columns)
            for e, c in zip(examples, drawn, strict=True) if e.completion != c]  # fmt: skip


def ml_irl(policy: Samples, examples: Sequence[Example], learn: Callable[[Sequence[Comparison], int], Reward], *, rounds: int = 2,
           training: Training | None = None, kl: float = 0.04, sampling: Any = None, seed: int = 0) -> Reward:  # fmt: skip
    """``max_r min_pi E[r(demonstration) - r(y ~ pi)] + KL(pi || pi_ref)``: by turns a reward learns to tell demonstrations from the policy's
    answers, and the policy learns to please it. At its end the policy answers as demonstrated; the reward is what is wanted.

    Args:
        policy: learns along; give a copy. learn: a reward from comparisons, in a round.
        training: of the policy in each round. kl: of its GRPO to where it began.
    """
    wanted(rounds >= 1, "inverse reinforcement learning wants rounds >= 1", rounds)
    reference = policy.freeze("now")
    found: list[Reward] = []
    for r in range(rounds):
        pairs = irl_pairs(policy, examples, sampling, seed=derive(seed, r, purpose="irl"))
        found.append(learn(pairs, r))
        if r + 1 < rounds:
            algorithm = GRPO(policy, found[-1], kl=kl, reference=reference, sampling=sampling)
            options = training or Training(steps=10, batch_size=8, lr=1e-4, progress=False)
            fit(algorithm, list(examples), replace(options, seed=derive(seed, r, purpose="policy") % 2**31))
    return found[-1]
