"""A loss and where its data come from: preferences, rollouts, examples, and rounds of them."""

from accord.algorithms.backprop import AlignProp, DRaFT, ReFL, RewardBackprop
from accord.algorithms.credit import BestOfGroup, Credit, GroupRelative, LeaveOneOut, Term, TokenGAE
from accord.algorithms.ddpo import DDPO, RLCM, PerPrompt
from accord.algorithms.differences import D3PO, PRDP, RewardDifference, StepPreference
from accord.algorithms.id_aligner import IDAligner
from accord.algorithms.joint import Joint, Stream
from accord.algorithms.preference import KTO, DiffusionDPO, InPO, Preference
from accord.algorithms.rollout import GRPO, PPO, RAFT, RLOO, Rollout
from accord.algorithms.rounds import Round, rounds
from accord.algorithms.subject import RewardPreference, SubjectPair, subject_pairs
from accord.algorithms.supervised import Supervised

__all__ = [
    "D3PO",
    "DDPO",
    "GRPO",
    "KTO",
    "PPO",
    "PRDP",
    "RAFT",
    "RLCM",
    "RLOO",
    "AlignProp",
    "BestOfGroup",
    "Credit",
    "DRaFT",
    "DiffusionDPO",
    "GroupRelative",
    "IDAligner",
    "InPO",
    "Joint",
    "LeaveOneOut",
    "PerPrompt",
    "Preference",
    "ReFL",
    "RewardBackprop",
    "RewardDifference",
    "RewardPreference",
    "Rollout",
    "Round",
    "StepPreference",
    "Stream",
    "SubjectPair",
    "Supervised",
    "Term",
    "TokenGAE",
    "rounds",
    "subject_pairs",
]
