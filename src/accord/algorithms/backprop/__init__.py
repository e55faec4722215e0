"""Learning by a differentiable reward's own gradient: `trainer` is what all share, `truncation` says how far back it flows, every
other file is a method."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.algorithms.backprop.alignprop import AlignProp
    from accord.algorithms.backprop.draft import DRaFT
    from accord.algorithms.backprop.id_aligner import IDAligner
    from accord.algorithms.backprop.refl import ReFL
    from accord.algorithms.backprop.trainer import RewardBackprop
    from accord.algorithms.backprop.truncation import (
        Carried,
        Truncation,
        full,
        last,
        per_step,
        random_last,
        stop_within,
        truncation_of,
    )
else:
    lazy(__name__)

__all__ = [
    "AlignProp",
    "Carried",
    "DRaFT",
    "IDAligner",
    "ReFL",
    "RewardBackprop",
    "Truncation",
    "full",
    "last",
    "per_step",
    "random_last",
    "stop_within",
    "truncation_of",
]
