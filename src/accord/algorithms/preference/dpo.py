"""DPO: direct preference optimisation."""

from typing import Unpack

from accord import losses
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Kept, Preference
from accord.policies.capabilities import Likelihood


class DPO(Preference):
    """``-log s(beta (h_c - h_r) - m)``, h the log-ratio to the reference (Rafailov et al. 2023, arXiv 2305.18290).

    Args:
        beta: strength of the tie to the reference, > 0. label_smoothing: probability in [0, 0.5) that a label is wrong.
    """

    def __init__(self, policy: Likelihood, *, beta: PerRow = 0.1, label_smoothing: PerRow = 0.0, **shared: Unpack[Kept]) -> None:  # fmt: skip
        super().__init__(policy, losses.dpo, {"beta": beta, "label_smoothing": label_smoothing}, **shared)
