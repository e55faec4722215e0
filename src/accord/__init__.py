"""accord brings generative models into accord with what people want, and measures whether it worked.

feedback -> reward -> algorithm -> policy -> evidence
"""

import os as _os
from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord import (
        algorithms,
        engine,
        errors,
        evaluation,
        feedback,
        identity,
        losses,
        policies,
        rewards,
        search,
        worlds,
    )
    from accord.engine import Run, Training, fit
    from accord.feedback import Feedback, read, stream
    from accord.policies import Denoising, DiffusionPolicy, LanguagePolicy, Rollouts, Sampling
else:
    lazy(__name__)

_os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked workers after tokenising would only warn

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
    "engine",
    "errors",
    "evaluation",
    "feedback",
    "fit",
    "identity",
    "losses",
    "policies",
    "read",
    "rewards",
    "search",
    "stream",
    "worlds",
]
