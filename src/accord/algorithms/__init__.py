"""A loss and where its data come from: preferences, rollouts, examples, and rounds of them."""

from accord.algorithms.backprop import AlignProp, DRaFT, ReFL, RewardBackprop
from accord.algorithms.credit import BestOfGroup, Credit, GroupRelative, LeaveOneOut, Term, TokenGAE
from accord.algorithms.preference import KTO, Preference
from accord.algorithms.rollout import GRPO, PPO, RAFT, RLOO, Rollout
from accord.algorithms.rounds import Round, rounds
from accord.algorithms.supervised import Supervised

__all__ = [
    "GRPO",
    "KTO",
    "PPO",
    "RAFT",
    "RLOO",
    "AlignProp",
    "BestOfGroup",
    "Credit",
    "DRaFT",
    "GroupRelative",
    "LeaveOneOut",
    "Preference",
    "ReFL",
    "RewardBackprop",
    "Rollout",
    "Round",
    "Supervised",
    "Term",
    "TokenGAE",
    "rounds",
]
