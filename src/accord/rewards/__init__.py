"""Anything that scores outputs: learned, verifiable, combined. A plain function is a reward."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.rewards.asking import Endpoint, PolicyJudge
    from accord.rewards.cache import Cached
    from accord.rewards.classifier import BradleyTerry
    from accord.rewards.clips import Framewise
    from accord.rewards.combine import Ensemble, combine
    from accord.rewards.consistency import AnswerConsistency
    from accord.rewards.contrast import ContrastivePrompt
    from accord.rewards.demonstrations import BesideDemonstrations
    from accord.rewards.encoder import SentenceEncoder
    from accord.rewards.features import Features, SentenceFeatures, TrunkFeatures
    from accord.rewards.heads import EncoderReward, HeadReward
    from accord.rewards.hybrid import Hybrid, shortfall
    from accord.rewards.implicit import ImplicitReward
    from accord.rewards.judge import Judge, PairJudge, Tournament
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
    from accord.rewards.reward import Reward, score
    from accord.rewards.reward_robust_rlhf import BayesianEnsemble
    from accord.rewards.routing import routed
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
    from accord.rewards.tool_calls import ToolCalls
    from accord.rewards.trl import from_trl, to_trl
    from accord.rewards.variational_preference_learning import VPL
    from accord.rewards.verifiable import exact_answer, json_call, length_penalty, matches, numeric_answer
else:
    lazy(__name__)

__all__ = [
    "PAL",
    "VPL",
    "Aesthetics",
    "AnswerConsistency",
    "BayesianEnsemble",
    "BesideDemonstrations",
    "BradleyTerry",
    "CLIPScore",
    "Cached",
    "ContrastivePrompt",
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
    "Judge",
    "OCRAccuracy",
    "ObjectChecks",
    "PairJudge",
    "PickScore",
    "PolicyJudge",
    "PrefixDifferences",
    "References",
    "Reward",
    "Scores",
    "SegmentClassifier",
    "SentenceEncoder",
    "SentenceFeatures",
    "Served",
    "SigLIP",
    "Span",
    "StrengthFitting",
    "ToolCalls",
    "Tournament",
    "TrunkFeatures",
    "ceil",
    "clauses",
    "clip",
    "combine",
    "compared_by",
    "exact_answer",
    "from_trl",
    "json_call",
    "length_penalty",
    "logsigmoid_centred",
    "matches",
    "minmax",
    "numeric_answer",
    "par",
    "rated_by",
    "repaired",
    "routed",
    "score",
    "sentences",
    "shaped",
    "shortfall",
    "standardise",
    "to_trl",
    "vision_judge",
    "voted",
    "whole",
]
