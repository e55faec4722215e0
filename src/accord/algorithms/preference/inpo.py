"""InPO: Diffusion-DPO where the policy itself would have come from."""

from typing import Unpack

from accord.algorithms.preference.diffusion_dpo import DiffusionDPO
from accord.algorithms.preference.options import PerRow
from accord.algorithms.preference.trainer import Compared
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion import InvertedDraw


class InPO(DiffusionDPO):
    """Diffusion-DPO at the latents that the policy itself would make each picture from (Lu et al. 2025, arXiv 2503.18454).

    Args:
        beta: as in `DiffusionDPO`. label_smoothing: probability in [0, 0.5) that a label is wrong.
        levels: of the inversion. eta: of the steps that lead back; see `InvertedDraw`.
    """

    def __init__(self, policy: Differentiable, *, beta: PerRow = 2000.0, levels: int = 10, eta: float = 0.1,
                 label_smoothing: PerRow = 0.0, **shared: Unpack[Compared]) -> None:  # fmt: skip
        super().__init__(policy, InvertedDraw(levels, eta), beta=beta, label_smoothing=label_smoothing, **shared)
