"""What a preference loss sees of a generator: log-probabilities, whatever the modality."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import ConfigError


@dataclass(frozen=True)
class LogProbs:
    """Log-likelihoods of n completions under a policy and, where a loss needs it, a frozen reference.

    Attributes:
        policy: ``log pi(y|x)``, summed over the completion's own steps.
        length: number of those steps (at least 0).
        reference: ``log pi_ref(y|x)``, a constant.
        per_step: the policy's terms before the sum, zero beyond the length; reference_per_step: the reference's.
    """

    policy: Float[Tensor, "n"]
    length: Float[Tensor, "n"]
    reference: Float[Tensor, "n"] | None = None
    per_step: Float[Tensor, "n t"] | None = None
    reference_per_step: Float[Tensor, "n t"] | None = None

    @property
    def ratio(self) -> Float[Tensor, "n"]:
        """``log pi - log pi_ref``; raises ConfigError where no reference was computed."""
        if self.reference is None:
            raise ConfigError("this loss compares with a reference policy, but no reference log-probs were given")
        return self.policy - self.reference.detach()

    @property
    def ratio_per_step(self) -> Float[Tensor, "n t"]:
        """The terms of `ratio`, zero beyond the length; raises ConfigError where there are none."""
        if self.per_step is None or self.reference_per_step is None:
            raise ConfigError("this loss compares step by step, but was given no log-probs of steps")
        return self.per_step - self.reference_per_step.detach()

    @property
    def error(self) -> Float[Tensor, "n"]:
        """The denoising error ``|target - output|^2``, where `policy` is its surrogate: minus half of it."""
        return -2 * self.policy

    @property
    def mean(self) -> Float[Tensor, "n"]:
        """Log-probability per step, 0 for an empty completion."""
        return self.policy / self.length.clamp(min=1)

    def __getitem__(self, index: Any) -> "LogProbs":
        return LogProbs(*(None if v is None else v[index] for v in self._fields()))  # type: ignore[arg-type]

    def with_reference(self, reference: Float[Tensor, "n"], per_step: Float[Tensor, "n t"] | None = None) -> "LogProbs":
        here = [None if x is None else x.detach().to(self.policy.device, torch.float32) for x in (reference, per_step)]
        return replace(self, reference=here[0], reference_per_step=here[1])

    def cpu(self) -> "LogProbs":
        return LogProbs(*(None if v is None else v.cpu() for v in self._fields()))  # type: ignore[arg-type]

    def _fields(self) -> tuple[Tensor | None, ...]:
        return self.policy, self.length, self.reference, self.per_step, self.reference_per_step
