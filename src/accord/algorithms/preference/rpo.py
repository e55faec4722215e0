"""RPO: DPO that can't forget the chosen answer."""

from typing import Unpack

from accord import losses
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Kept, Preference
from accord.policies.capabilities import Likelihood


class RPO(Preference):
    """``DPO - eta beta log pi(y_c)``: DPO with an SFT term as adversarial regulariser (Liu et al. 2024, arXiv 2405.16436).

    Args:
        beta: strength of the tie to the reference, > 0. label_smoothing: probability in [0, 0.5) that a label is wrong.
        eta: weight of the summed log-prob of the chosen answer; note the beta in front of it.
        average: the paper's variant, ``- eta mean log pi(y_c)``, without beta (eta about 0.2 there).
    """

    def __init__(self, policy: Likelihood, *, beta: PerRow = 0.1, eta: PerRow = 0.005, average: bool = False,
                 label_smoothing: PerRow = 0.0, **shared: Unpack[Kept]) -> None:  # fmt: skip
        super().__init__(policy, losses.rpo, {"beta": beta, "eta": eta, "average": average, "label_smoothing": label_smoothing}, **shared)  # fmt: skip
