"""accord brings generative models into accord with what people want, and measures whether it worked.

feedback -> reward -> algorithm -> policy -> evidence
"""

import os as _os

_os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked workers after tokenising would only warn

from accord import algorithms, evaluation, identity, losses, rewards, search
from accord.engine import Run, Training, fit
from accord.feedback import Feedback, read, stream
from accord.policies import Denoising, DiffusionPolicy, LanguagePolicy, Rollouts, Sampling

__version__ = "0.1.0"

__all__ = [
    "Denoising",
    "DiffusionPolicy",
    "Feedback",
    "LanguagePolicy",
    "Rollouts",
    "Run",
    "Sampling",
    "Training",
    "algorithms",
    "evaluation",
    "fit",
    "identity",
    "losses",
    "read",
    "rewards",
    "search",
    "stream",
]
