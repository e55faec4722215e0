"""ORPO: supervised training that keeps the rejected answer's odds low."""

from typing import Unpack

from accord import losses
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Paired, Preference
from accord.policies.capabilities import Likelihood


class ORPO(Preference):
    """``-mean log pi_c - beta log s(log odds_c - log odds_r - m)``, without a reference (Hong et al. 2024, arXiv 2403.07691).

    Args:
        beta: weight of the odds beside the supervised term, > 0.
    """

    needs_reference = False

    def __init__(self, policy: Likelihood, *, beta: PerRow = 0.1, **shared: Unpack[Paired]) -> None:
        super().__init__(policy, losses.orpo, {"beta": beta}, reference=None, **shared)
