"""Can this reward be trusted? Accuracy, calibration, consistency, bias, noise, over-optimisation; each with its interval."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.evaluation.trust.agreement import Agreement, agreements
    from accord.evaluation.trust.bias import Effect
    from accord.evaluation.trust.calibration import Calibration, calibration
    from accord.evaluation.trust.card import write_card
    from accord.evaluation.trust.consistency import Contrast, Order
    from accord.evaluation.trust.contrast_instructions import consistency, contrast_instructions
    from accord.evaluation.trust.faults import Fault
    from accord.evaluation.trust.noise import Noise, noise, under_noise
    from accord.evaluation.trust.optimisation import Optimisation, Pool, optimisation, pools
    from accord.evaluation.trust.page import write_page
    from accord.evaluation.trust.referee import Compares, Referee
    from accord.evaluation.trust.trust import Trust, evaluate
else:
    lazy(__name__)

__all__ = [
    "Agreement",
    "Calibration",
    "Compares",
    "Contrast",
    "Effect",
    "Fault",
    "Noise",
    "Optimisation",
    "Order",
    "Pool",
    "Referee",
    "Trust",
    "agreements",
    "calibration",
    "consistency",
    "contrast_instructions",
    "evaluate",
    "noise",
    "optimisation",
    "pools",
    "under_noise",
    "write_card",
    "write_page",
]
