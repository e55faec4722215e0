"""Policy gradient on denoising steps with statistics of each prompt: DDPO, and RLCM on consistency models."""

import json
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.credit import Term, clipped
from accord.algorithms.rollout import Rollout
from accord.errors import ConfigError, wanted
from accord.feedback import prompt_key
from accord.policies.base import Rollouts
from accord.rewards import Reward, Scores


@dataclass
class PerPrompt:
    """``A = (R - mean) / (std + 1e-6)``, over the last rewards of the same prompt, or of the batch while those are few.

    Attributes:
        buffer: rewards that are kept of each prompt. min_count: how many of them it takes.
        clip: of the ratio. most: bound on the advantage.
    """

    buffer: int = 32
    min_count: int = 16
    clip: float = 1e-4
    most: float = 10.0
    seen: dict[str, deque[float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        wanted(1 <= self.min_count <= self.buffer and min(self.clip, self.most) > 0,
               "statistics of a prompt want 1 <= min_count <= buffer, clip > 0 and most > 0", self)  # fmt: skip

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        keys = [prompt_key(p) for p in rollouts.prompt_of_each()]
        valid = scores.valid.tolist()
        for key, value, ok in zip(keys, scores.values.tolist(), valid, strict=True):
            if ok:
                self.seen.setdefault(key, deque(maxlen=self.buffer)).append(value)
        batch = scores.values[scores.valid]
        table = {k: self._level(torch.tensor(list(self.seen.get(k, ()))), batch) for k in set(keys)}
        level = torch.tensor([table[k] for k in keys], device=scores.values.device)
        advantage = ((scores.values - level[:, 0]) / (level[:, 1] + 1e-6)).clamp(-self.most, self.most)
        advantage = advantage.masked_fill(~scores.valid, 0.0)
        weight = rollouts.mask * (scores.valid / rollouts.length.clamp(min=1))[:, None]
        return [Term(partial(clipped, low=self.clip, high=self.clip), advantage[:, None].expand_as(weight), weight)]

    def _level(self, own: Tensor, batch: Tensor) -> tuple[float, float]:
        x = own if len(own) >= self.min_count else batch
        return (float(x.mean()), float(x.std(correction=0))) if len(x) else (0.0, 1.0)

    def state(self) -> dict[str, Tensor]:
        text = json.dumps({k: list(v) for k, v in self.seen.items()})
        return {"seen": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        found = json.loads(bytes(state["seen"].tolist()).decode())
        self.seen = {k: deque(v, maxlen=self.buffer) for k, v in found.items()}


def DDPO(
    policy: Any, reward: Reward, *, buffer: int = 32, min_count: int = 16, clip: float = 1e-4, **options: Any
) -> Rollout:
    """Denoising diffusion policy optimisation (Black et al. 2023, arXiv 2305.13301); options of `Rollout` by name.

    Log-probs are means over the latent unless `sampling` says otherwise, which the default clip is for.
    """
    options = {"sampling": replace(policy.sampling_kind(), average=True), "group_size": 1, "reference": None, **options}
    return Rollout(policy, reward, PerPrompt(buffer, min_count, clip), **options)


def RLCM(policy: Any, reward: Reward, *, clip: float = 1e-4, **options: Any) -> Rollout:
    """DDPO on a consistency model's few steps (Oertell et al. 2024, arXiv 2404.03673).

    The last step's prediction is the picture, without noise: it is no action and bears no loss (the released code trains
    on a density there that nobody sees). What that last map does to the reward directly, the estimate leaves out.

    Raises:
        ConfigError: the policy's scheduler is none of a consistency model, or takes one step (nothing is an action then).
    """
    sampling = options.pop("sampling", None) or replace(policy.sampling_kind(), steps=4, guidance=1.0, average=True)
    if not policy.schedule(sampling.steps).consistency:
        raise ConfigError("RLCM wants a consistency model: a pipeline with an LCM scheduler (for others there is DDPO)")
    if sampling.steps < 2:
        raise ConfigError("a consistency model of one step has no stochastic action: give sampling at least 2 steps")
    return DDPO(policy, reward, clip=clip, sampling=sampling, **options)
