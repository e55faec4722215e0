"""SimPO: preference optimisation by likelihood alone."""

from typing import Unpack

from accord import losses
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Paired, Preference
from accord.policies.capabilities import Likelihood


class SimPO(Preference):
    """``-log s(beta (mean log pi_c - mean log pi_r) - gamma - m)``, without a reference (Meng et al. 2024, arXiv 2405.14734).

    Args:
        beta: scale of the mean log-probs, > 0. gamma: the lead that every pair should have; `margin` comes on top of it.
    """

    needs_reference = False

    def __init__(self, policy: Likelihood, *, beta: PerRow = 2.0, gamma: PerRow = 1.0, **shared: Unpack[Paired]) -> None:  # fmt: skip
        super().__init__(policy, losses.simpo, {"beta": beta, "gamma": gamma}, reference=None, **shared)
