"""How a policy learns: machinery apart from methods, a method a file of its own name, a class with its own options."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.algorithms.backprop.alignprop import AlignProp
    from accord.algorithms.backprop.draft import DRaFT
    from accord.algorithms.backprop.id_aligner import IDAligner
    from accord.algorithms.backprop.refl import ReFL
    from accord.algorithms.backprop.trainer import RewardBackprop
    from accord.algorithms.joint import Joint, Stream
    from accord.algorithms.options import Option, options_of
    from accord.algorithms.preference.diffusion_dpo import DiffusionDPO
    from accord.algorithms.preference.dpo import DPO
    from accord.algorithms.preference.inpo import InPO
    from accord.algorithms.preference.ipo import IPO
    from accord.algorithms.preference.judging import Judging
    from accord.algorithms.preference.kto import KTO
    from accord.algorithms.preference.lambda_harmonic_rpo import RewardPreference, SubjectPair, subject_pairs
    from accord.algorithms.preference.modpo import MODPO
    from accord.algorithms.preference.orpo import ORPO
    from accord.algorithms.preference.reward_augmented_dpo import RewardAugmentedDPO
    from accord.algorithms.preference.rpo import RPO
    from accord.algorithms.preference.self_consistency import SelfConsistency
    from accord.algorithms.preference.simpo import SimPO
    from accord.algorithms.preference.t_reg import TREG
    from accord.algorithms.preference.trainer import Preference
    from accord.algorithms.reference import Reference
    from accord.algorithms.rollout.acre import ACRE
    from accord.algorithms.rollout.amft import AMFT, Balance
    from accord.algorithms.rollout.barfi import BARFI
    from accord.algorithms.rollout.copo import COPO
    from accord.algorithms.rollout.credit import Credit, Term
    from accord.algorithms.rollout.d3po import D3PO, StepPreference
    from accord.algorithms.rollout.ddpo import DDPO, PerPrompt
    from accord.algorithms.rollout.diffusion_nft import DiffusionNFT
    from accord.algorithms.rollout.dr_irl import DRIRL, DifficultyScaled
    from accord.algorithms.rollout.fine_grained_rlhf import DenseGAE, FineGrainedRLHF
    from accord.algorithms.rollout.flow_grpo import FlowGRPO
    from accord.algorithms.rollout.grpo import GRPO, GroupRelative
    from accord.algorithms.rollout.pairwise_rl import PairwiseRL, with_anchors
    from accord.algorithms.rollout.ppo import PPO, TokenGAE
    from accord.algorithms.rollout.prdp import PRDP, RewardDifference
    from accord.algorithms.rollout.raft import RAFT, BestOfGroup
    from accord.algorithms.rollout.rlcm import RLCM
    from accord.algorithms.rollout.rloo import RLOO, LeaveOneOut
    from accord.algorithms.rollout.trainer import Rollout
    from accord.algorithms.rounds.cream import CREAM
    from accord.algorithms.rounds.dpa import DPA, directed
    from accord.algorithms.rounds.irl import irl_pairs
    from accord.algorithms.rounds.irl_llm_survey import InverseRL
    from accord.algorithms.rounds.scir import SCIR
    from accord.algorithms.rounds.self_rewarding import SelfRewarding
    from accord.algorithms.rounds.temporal_self_rewarding import TemporalSelfRewarding
    from accord.algorithms.rounds.trainer import Round, RoundMethod, rounds
    from accord.algorithms.supervised import Supervised
else:
    lazy(__name__)

__all__ = [
    "ACRE",
    "AMFT",
    "BARFI",
    "COPO",
    "CREAM",
    "D3PO",
    "DDPO",
    "DPA",
    "DPO",
    "DRIRL",
    "GRPO",
    "IPO",
    "KTO",
    "MODPO",
    "ORPO",
    "PPO",
    "PRDP",
    "RAFT",
    "RLCM",
    "RLOO",
    "RPO",
    "SCIR",
    "TREG",
    "AlignProp",
    "Balance",
    "BestOfGroup",
    "Credit",
    "DRaFT",
    "DenseGAE",
    "DifficultyScaled",
    "DiffusionDPO",
    "DiffusionNFT",
    "FineGrainedRLHF",
    "FlowGRPO",
    "GroupRelative",
    "IDAligner",
    "InPO",
    "InverseRL",
    "Joint",
    "Judging",
    "LeaveOneOut",
    "Option",
    "PairwiseRL",
    "PerPrompt",
    "Preference",
    "ReFL",
    "Reference",
    "RewardAugmentedDPO",
    "RewardBackprop",
    "RewardDifference",
    "RewardPreference",
    "Rollout",
    "Round",
    "RoundMethod",
    "SelfConsistency",
    "SelfRewarding",
    "SimPO",
    "StepPreference",
    "Stream",
    "SubjectPair",
    "Supervised",
    "TemporalSelfRewarding",
    "Term",
    "TokenGAE",
    "directed",
    "irl_pairs",
    "options_of",
    "rounds",
    "subject_pairs",
    "with_anchors",
]
