"""Flows of whose levels the more lie near noise the more tokens a picture has (arXiv 2403.03206, 5.3.2)."""

import inspect
import math
from typing import Any

from accord.errors import ModelError
from accord.policies.diffusion.families.family import Family


class Shifted(Family):
    """Where the scheduler's `use_dynamic_shifting` says so, levels are shifted by ``exp(mu)`` (or
    mu, as its `time_shift_type` says), mu linear in the tokens."""

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
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        return float(low + (high - low) / (many - few) * (self.tokens - few))

    def spacing(self, steps: int) -> dict[str, Any]:
        scheduler = self.pipeline.scheduler
        if not {"sigmas", "mu"} <= inspect.signature(scheduler.set_timesteps).parameters.keys():
            raise ModelError(f"{self.name} says where its levels lie, which a {type(scheduler).__name__} can't be told: set a FlowMatchEulerDiscreteScheduler")  # fmt: skip
        return {"sigmas": [1 - i / steps for i in range(steps)], "mu": self.mu(steps)}

    @property
    def shift(self) -> float | None:
        if not self.dynamic:
            return None
        mu = self.mu(TRAINING)
        return mu if self.pipeline.scheduler.config.get("time_shift_type") == "linear" else math.exp(mu)

    @property
    def dynamic(self) -> bool:
        return bool(self.pipeline.scheduler.config.get("use_dynamic_shifting"))


TRAINING = 50
"""Steps for which a shift that depends on them counts in training."""
