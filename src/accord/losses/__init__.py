"""Pure functions: tensors in, one loss for each sample out. Nothing here knows a model or a modality."""

from accord.losses.consistency import inconsistency
from accord.losses.contrastive import simcse, swav
from accord.losses.differences import better_and_worse, reward_difference, step_preference
from accord.losses.logprobs import LogProbs
from accord.losses.masked import masked_mean, masked_sum, masked_whiten
from accord.losses.pairwise import pairwise
from accord.losses.policy_gradient import (
    clipped_surrogate,
    clipped_value_loss,
    gae,
    kl_estimate,
    score_function,
)
from accord.losses.preference import dpo, ipo, kto, orpo, rpo, sft, simpo, t_reg
from accord.losses.reward import bradley_terry, plackett_luce, regression

__all__ = [
    "LogProbs",
    "better_and_worse",
    "bradley_terry",
    "clipped_surrogate",
    "clipped_value_loss",
    "dpo",
    "gae",
    "inconsistency",
    "ipo",
    "kl_estimate",
    "kto",
    "masked_mean",
    "masked_sum",
    "masked_whiten",
    "orpo",
    "pairwise",
    "plackett_luce",
    "regression",
    "reward_difference",
    "rpo",
    "score_function",
    "sft",
    "simcse",
    "simpo",
    "step_preference",
    "swav",
    "t_reg",
]
