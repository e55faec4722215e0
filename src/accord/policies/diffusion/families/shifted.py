"""Flows of whose levels the more lie near noise the more tokens a picture has (arXiv 2403.03206, 5.3.2)."""

import math
from typing import Any

from accord.policies.diffusion.families.family import Family


class Shifted(Family):
    """Where the scheduler's `use_dynamic_shifting` says so, levels are shifted by ``exp(mu)``, mu linear in the tokens."""

    @property
    def patch(self) -> int:
        """Side of a token in latents."""
        return 2

    @property
    def multiple(self) -> int:
        return self.scale * self.patch

    @property
    def tokens(self) -> int:
        """Of a picture, as the transformer sees it."""
        return math.prod(self.shape[1:]) // self.patch**2

    def mu(self, steps: int) -> float:
        config = self.pipeline.scheduler.config
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return float(config.base_shift + slope * (self.tokens - config.base_image_seq_len))

    def spacing(self, steps: int) -> dict[str, Any]:
        return {"sigmas": [1 - i / steps for i in range(steps)], "mu": self.mu(steps)}

    @property
    def shift(self) -> float | None:
        return math.exp(self.mu(TRAINING)) if self.dynamic else None

    @property
    def dynamic(self) -> bool:
        return bool(self.pipeline.scheduler.config.get("use_dynamic_shifting"))


TRAINING = 50
"""Steps for which a shift that depends on them counts in training."""
