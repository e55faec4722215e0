"""IPO: identity preference optimisation."""

from typing import Unpack

from accord import losses
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Kept, Preference
from accord.policies.capabilities import Likelihood


class IPO(Preference):
    """``(h_c - h_r - m - 1/(2 beta))^2``, h the log-ratio to the reference by token (Azar et al. 2023, arXiv 2310.12036).

    Args:
        beta: strength of the tie to the reference, > 0.
    """

    def __init__(self, policy: Likelihood, *, beta: PerRow = 0.1, **shared: Unpack[Kept]) -> None:
        super().__init__(policy, losses.ipo, {"beta": beta}, **shared)
