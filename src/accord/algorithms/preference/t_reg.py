"""T-REG: DPO that spreads its reward over the tokens as the model's own opinion of them says."""

from dataclasses import replace
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from accord import losses
from accord.algorithms.base import Given
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Kept, Preference
from accord.engine import Rows, Step
from accord.errors import ConfigError
from accord.policies.capabilities import Likelihood
from accord.rewards import Cached, ContrastivePrompt, Reward
from accord.rewards.contrast import BETTER, WORSE
from accord.rewards.reward import name_of, score_pairs


class TREG(Preference):
    """``DPO - alpha w beta sum_t (r_t log pi(c_t) + r_t log pi(r_t))``, r_t a reward of each token and w the weight that DPO's own
    gradient gives the pair: a good token of the rejected answer is pushed down less, a poor one of the chosen pulled up less
    (Zhou et al. 2024, arXiv 2412.02685).

    Args:
        reward: of tokens, in [-1/2, 1/2] (any with values of `steps`); none: `ContrastivePrompt` of the reference.
        beta: strength of the tie to the reference, > 0. alpha: of the tokens' rewards; up to 2 none turns a token round.
        better, worse: what `ContrastivePrompt` asks.
    """

    def __init__(self, policy: Likelihood, reward: Reward | None = None, *, beta: PerRow = 0.1, alpha: PerRow = 0.25,
                 better: str = BETTER, worse: str = WORSE, **shared: Unpack[Kept]) -> None:  # fmt: skip
        super().__init__(policy, losses.t_reg, {"beta": beta, "alpha": alpha}, **shared)
        if reward is None:
            assert self.reference is not None
            reward = Cached(ContrastivePrompt(self.reference.policy, better, worse), None)
        self.reward = reward

    def experience(self, batch: Rows, step: Step) -> Given:
        given = super().experience(batch, step)
        return replace(given, options={**given.options, "rewards": self.of_tokens(batch)})

    @torch.no_grad()
    def of_tokens(self, pairs: Rows) -> Float[Tensor, "n 2 t"]:
        """The reward of every token of both answers."""
        said = score_pairs(self.reward, pairs)
        if said.steps is None:
            raise ConfigError(f"T-REG wants a reward of tokens, but {name_of(self.reward)} gives no values of steps")
        return said.steps.cpu().reshape(len(pairs), 2, -1)
