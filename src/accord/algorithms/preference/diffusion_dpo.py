"""Diffusion-DPO: DPO on pictures."""

from typing import Any, Unpack

from accord import losses
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Compared, Preference
from accord.policies.capabilities import Differentiable


class DiffusionDPO(Preference):
    """DPO on denoising errors at random levels, ``h = -1/2 (e - e_ref)`` (Wallace et al. 2023, arXiv 2311.12908).

    Args:
        beta: strength of the tie to the reference, > 0; for errors that are means over a latent.
        label_smoothing: probability in [0, 0.5) that a label is wrong.
        draw: the levels and noise at which errors are taken; see `PolicyAlgorithm`.
    """

    def __init__(self, policy: Differentiable, draw: Any = None, *, beta: PerRow = 2000.0, label_smoothing: PerRow = 0.0,
                 **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, losses.dpo, {"beta": beta, "label_smoothing": label_smoothing}, draw=draw, **shared)
