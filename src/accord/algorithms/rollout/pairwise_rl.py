"""Pairwise-RL: PPO for the chance to beat a fixed answer."""

from collections.abc import Sequence
from typing import Any, Unpack

from accord.algorithms.rollout.ppo import TokenGAE
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.engine import derive
from accord.errors import FeedbackError, wanted
from accord.feedback import Task, prompt_of
from accord.policies.capabilities import Samples, SamplesWithStates, States
from accord.rewards import Reward
from accord.rewards.reward import reward_columns, score_drawn


class PairwiseRL(Rollout):
    """``R(x, y) = W(y, a(x) | x)``, the judge's chance that an answer beats the anchor a of its prompt, asked in both orders, then PPO: one
    unit of reward for all prompts, as what is hard about a prompt is hard for its anchor too (Xu et al. 2025, arXiv 2504.04950).

    An anchor is the prompt's right answer, or one of the policy's own as it began (`with_anchors`); it stays the same for the whole run.

    Args:
        reward: `PairJudge` of a judge that has learned by `Judging`; or `Anchored`, the same of a Bradley-Terry reward.
        critic: a trunk to copy (a policy, a reward model); None copies the policy. It doesn't read the anchor.
        kl: weight of ``log pi/pi_ref``, taken off the reward at each step; rewards lie in [0, 1], so less than elsewhere.
        clip: of the ratio. value_clip: of the critic's step. gamma: discount of later rewards, in [0, 1]. lam: of GAE, in [0, 1].
        whiten: advantages to mean 0, variance 1 over the batch. value_weight: of the critic's loss.
    """

    def __init__(self, policy: SamplesWithStates, reward: Reward, critic: States | None = None, *, kl: float = 0.02, clip: float = 0.2,
                 value_clip: float = 0.2, gamma: float = 1.0, lam: float = 0.95, whiten: bool = True, value_weight: float = 0.5,
                 group_size: int = 4, sampling: Any = None, **shared: Unpack[Compared]) -> None:  # fmt: skip
        credit = TokenGAE(kl, clip, value_clip, value_weight, gamma, lam, whiten)
        super().__init__(policy, reward, credit, critic, group_size=group_size, sampling=sampling, **shared)

    def check(self, rows: Sequence[Any]) -> None:
        """Refuse rows that the policy can't take, or that have no answer to beat."""
        super().check(rows)
        column = getattr(self.reward, "anchor", None)
        for i, row in enumerate(rows, 1):
            if column is not None and getattr(row, "columns", {}).get(column) is None:
                raise FeedbackError(f"record {i} has no column {column!r}, the answer to beat: name the one that holds it, or make it by with_anchors")  # fmt: skip


def with_anchors(policy: Samples, rows: Sequence[Any], reward: Reward | None = None, *, samples: int = 4, sampling: Any = None,
                 column: str = "anchor", seed: int = 0) -> list[Task]:  # fmt: skip
    """Prompts with an answer of the policy's own beside each: the best of some by a reward (a `Tournament` of the judge), or the first.

    Args:
        policy: as it begins. samples: to choose from, at least 1. column: that gets the anchor.
        seed: of the draws; they are not those that a method makes with the same seed.
    """
    wanted(samples >= 1, "anchors want samples >= 1", samples)
    prompts, n = [prompt_of(r) for r in rows], samples if reward is not None else 1
    drawn = policy.sample(prompts, n, sampling or policy.sampling_kind(), seed=derive(seed, purpose="anchor") % 2**31,
                          context=reward_columns(rows))  # fmt: skip
    best = [0] * len(prompts) if reward is None else score_drawn(reward, drawn, policy).values.reshape(-1, n).argmax(-1).tolist()  # fmt: skip
    return [Task(prompt=p, columns={**columns, column: drawn.completions[i * n + best[i]]})
            for i, (p, columns) in enumerate(zip(prompts, (getattr(r, "columns", {}) for r in rows), strict=True))]  # fmt: skip
