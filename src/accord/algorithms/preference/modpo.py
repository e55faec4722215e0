"""MODPO: pairs of one objective, all others as a margin."""

from dataclasses import replace
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from accord import losses
from accord.algorithms.base import Given
from accord.algorithms.preference.trainer import Kept, Preference
from accord.engine import Rows, Step
from accord.errors import wanted
from accord.policies.capabilities import Likelihood
from accord.rewards import Reward
from accord.rewards.reward import score_pairs


class MODPO(Preference):
    """``-log s((beta / w_k) (h_c - h_r) - m)``, ``m = (1 / w_k) sum_{i != k} w_i (r_i(c) - r_i(r))``: DPO on the pairs of objective
    k, with the optimum of RL on all objectives' weighted sum, ``pi ~ pi_ref exp(w . r / beta)`` (Zhou et al. 2023, arXiv 2310.03708).

    Args:
        reward: r of the other objectives, whose differences are the log-odds that people prefer one (a Bradley-Terry model, or
            `ImplicitReward` of a DPO on their pairs); several as `combine({...}, weights={...})`. Where it doesn't apply to
            both of a pair, it moves nothing.
        beta: strength of the tie to the reference, > 0. own: w_k, in (0, 1]; gradients grow as beta / own.
        others: w of `reward`; none: 1 - own.
    """

    def __init__(self, policy: Likelihood, reward: Reward, *, beta: float = 0.1, own: float = 0.5, others: float | None = None,
                 **shared: Unpack[Kept]) -> None:  # fmt: skip
        wanted(0 < own <= 1, "MODPO wants the weight of its own objective in (0, 1]", own)
        super().__init__(policy, losses.dpo, {"beta": beta / own}, **shared)
        self.reward, self.lead = reward, (1 - own if others is None else others) / own

    def experience(self, batch: Rows, step: Step) -> Given:
        given = super().experience(batch, step)
        asked = given.options.get("margin", self.options.get("margin", 0.0))
        return replace(given, options={**given.options, "margin": self.lead * self.led(batch) + asked})

    @torch.no_grad()
    def led(self, pairs: Rows) -> Float[Tensor, "n"]:
        """By how much the chosen ones lead in the other objectives."""
        said = score_pairs(self.reward, pairs)
        applies = said.valid[0::2] & said.valid[1::2]
        return (said.values[0::2] - said.values[1::2]).masked_fill(~applies, 0.0).cpu()
