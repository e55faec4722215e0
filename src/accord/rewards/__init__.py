"""Anything that scores outputs: learned, verifiable, combined. A plain function is a reward."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.rewards.anchored import Anchored, judged_by
    from accord.rewards.asking import Endpoint, PolicyJudge
    from accord.rewards.basereward import BaseReward, RewardRecipe, mixed, recipe_search
    from accord.rewards.cache import Cached
    from accord.rewards.classifier import BradleyTerry
    from accord.rewards.clips import Framewise
    from accord.rewards.collaborative_reward_modeling import CollaborativeRewardModeling, collaborate
    from accord.rewards.combine import Ensemble, combine
    from accord.rewards.consistency import AnswerConsistency
    from accord.rewards.context_aware_preference import ContextAware
    from accord.rewards.contrast import ContrastivePrompt
    from accord.rewards.contrast_instructions import RewardFusion, convex_augmented
    from accord.rewards.contrastive_fitting import ContrastiveFitting
    from accord.rewards.curating import curate
    from accord.rewards.curators import Curator, Relabelling, Synthesis, Voting
    from accord.rewards.demonstrations import BesideDemonstrations
    from accord.rewards.dmoerm import CapabilityMixture, DMoERM, Router, agreed
    from accord.rewards.encoder import SentenceEncoder
    from accord.rewards.episodes import by_step, own_reward, potential
    from accord.rewards.features import Features, SentenceFeatures, TrunkFeatures
    from accord.rewards.heads import Committee, EncoderReward, HeadReward
    from accord.rewards.helpsteer2_preference import rated_then_compared
    from accord.rewards.hybrid import Hybrid, shortfall
    from accord.rewards.implicit import ImplicitReward
    from accord.rewards.judge import Judge, PairJudge, Tournament
    from accord.rewards.meta_fitting import MetaFitting, answers_of
    from accord.rewards.more_diversified_preferences import MORE
    from accord.rewards.pal import PAL
    from accord.rewards.pictures.aesthetics import Aesthetics
    from accord.rewards.pictures.clip_score import CLIPScore
    from accord.rewards.pictures.hps import HPSv2
    from accord.rewards.pictures.image_reward import ImageReward
    from accord.rewards.pictures.judged import vision_judge
    from accord.rewards.pictures.objects import ObjectChecks
    from accord.rewards.pictures.ocr import OCRAccuracy
    from accord.rewards.pictures.pick_score import PickScore
    from accord.rewards.pictures.siglip import SigLIP
    from accord.rewards.pieces import PrefixDifferences, clauses, sentences, whole
    from accord.rewards.polar import PolicyDiscriminator, beside_best, policy_triples
    from accord.rewards.reward import Reward, score
    from accord.rewards.reward_robust_rlhf import BayesianEnsemble
    from accord.rewards.routing import routed
    from accord.rewards.saved import Saved, load
    from accord.rewards.scores import Scores, Span
    from accord.rewards.secrets_rlhf_rm import StrengthFitting, repaired, voted
    from accord.rewards.segments import SegmentClassifier
    from accord.rewards.served import Served, compared_by, rated_by
    from accord.rewards.shaping import (
        References,
        ceil,
        clip,
        logsigmoid_centred,
        minmax,
        par,
        shaped,
        standardise,
    )
    from accord.rewards.skywork_reward_v2 import DualAgreement, by_comparing, steered
    from accord.rewards.tool_calls import ToolCalls
    from accord.rewards.tree_structured_reward import InducedNetwork, grown, leaf_pairs, network_of
    from accord.rewards.trl import from_trl, to_trl
    from accord.rewards.variational_preference_learning import VPL
    from accord.rewards.verifiable import exact_answer, json_call, length_penalty, matches, numeric_answer
    from accord.rewards.vision import VisionLanguageFeatures
    from accord.rewards.words import WordFeatures
else:
    lazy(__name__)

__all__ = [
    "MORE",
    "PAL",
    "VPL",
    "Aesthetics",
    "Anchored",
    "AnswerConsistency",
    "BaseReward",
    "BayesianEnsemble",
    "BesideDemonstrations",
    "BradleyTerry",
    "CLIPScore",
    "Cached",
    "CapabilityMixture",
    "CollaborativeRewardModeling",
    "Committee",
    "ContextAware",
    "ContrastiveFitting",
    "ContrastivePrompt",
    "Curator",
    "DMoERM",
    "DualAgreement",
    "EncoderReward",
    "Endpoint",
    "Ensemble",
    "Features",
    "Framewise",
    "HPSv2",
    "HeadReward",
    "Hybrid",
    "ImageReward",
    "ImplicitReward",
    "InducedNetwork",
    "Judge",
    "MetaFitting",
    "OCRAccuracy",
    "ObjectChecks",
    "PairJudge",
    "PickScore",
    "PolicyDiscriminator",
    "PolicyJudge",
    "PrefixDifferences",
    "References",
    "Relabelling",
    "Reward",
    "RewardFusion",
    "RewardRecipe",
    "Router",
    "Saved",
    "Scores",
    "SegmentClassifier",
    "SentenceEncoder",
    "SentenceFeatures",
    "Served",
    "SigLIP",
    "Span",
    "StrengthFitting",
    "Synthesis",
    "ToolCalls",
    "Tournament",
    "TrunkFeatures",
    "VisionLanguageFeatures",
    "Voting",
    "WordFeatures",
    "agreed",
    "answers_of",
    "beside_best",
    "by_comparing",
    "by_step",
    "ceil",
    "clauses",
    "clip",
    "collaborate",
    "combine",
    "compared_by",
    "convex_augmented",
    "curate",
    "exact_answer",
    "from_trl",
    "grown",
    "json_call",
    "judged_by",
    "leaf_pairs",
    "length_penalty",
    "load",
    "logsigmoid_centred",
    "matches",
    "minmax",
    "mixed",
    "network_of",
    "numeric_answer",
    "own_reward",
    "par",
    "policy_triples",
    "potential",
    "rated_by",
    "rated_then_compared",
    "recipe_search",
    "repaired",
    "routed",
    "score",
    "sentences",
    "shaped",
    "shortfall",
    "standardise",
    "steered",
    "to_trl",
    "vision_judge",
    "voted",
    "whole",
]
