"""Best-of-n: draw n, keep what the reward likes most."""

from collections.abc import Sequence
from typing import Any

import torch

from accord.errors import ConfigError
from accord.feedback import prompt_of
from accord.policies.base import Policy, Rollouts
from accord.rewards import Reward, Scores
from accord.rewards.combine import reward_of
from accord.rewards.reward import reward_columns, score_drawn


def best_of_n(policy: Policy, reward: Reward, prompts: Sequence[Any], n: int = 16, sampling: Any = None, *,
              seed: int = 0) -> tuple[Rollouts, Scores]:  # fmt: skip
    """The best of n answers to each prompt, with their scores.

    KL to the policy is at most ``log n - (n - 1)/n``. A group in which no answer is valid keeps its first.
    """
    if n < 1:
        raise ConfigError(f"best-of-n wants n >= 1, but n is {n}")
    columns = reward_columns(prompts)
    prompts = [prompt_of(p) for p in prompts]
    drawn = policy.sample(
        prompts, n, policy.sampling_kind() if sampling is None else sampling, seed=seed, context=columns
    )
    said = score_drawn(reward_of(reward), drawn, policy).to(torch.device("cpu"))
    table = said.values.detach().masked_fill(~said.valid, float("-inf")).reshape(len(prompts), n)
    best = [i * n + int(j) for i, j in enumerate(table.argmax(-1))]
    return drawn.select(best), said.select(best)
