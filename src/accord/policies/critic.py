"""A value head for policies whose actions are tokens."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.policies.base import Rollouts
from accord.policies.capabilities import States


class Critic(nn.Module):
    """``V(s_t)`` before each sampled token: a linear head, zero at first, on a trunk of its own.

    The trunk is a copy of the policy or of a reward model (which is where RLHF usually starts a critic).
    """

    def __init__(self, trunk: States) -> None:
        super().__init__()
        self.trunk: Any = copy.deepcopy(trunk)
        core: Any = self.trunk.core
        config = core.config
        # What the critic never calls must not wait for a gradient (DDP would).
        if not config.tie_word_embeddings and core.get_output_embeddings() is not None:
            core.get_output_embeddings().requires_grad_(False)
        if hasattr(core, "score"):
            core.score.requires_grad_(False)
        self.head = nn.Linear(getattr(config, "hidden_size", None) or config.n_embd, 1).to(self.trunk.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """Values at each of the policy's own steps, 0 elsewhere."""
        states = self.trunk.step_states(rollouts)
        values = self.head(states.to(self.head.weight.dtype))[..., 0].float()
        return values.masked_fill(~rollouts.mask.to(values.device), 0.0)

    @torch.no_grad()
    def estimate(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        return self(rollouts).cpu()
