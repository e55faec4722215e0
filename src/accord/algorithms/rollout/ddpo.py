"""DDPO: policy gradient on denoising steps, with statistics of each prompt."""

import json
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor

from accord.algorithms.rollout.credit import Term, clipped
from accord.algorithms.rollout.trainer import Drawn, Rollout
from accord.errors import wanted
from accord.feedback import prompt_key
from accord.policies.base import Rollouts
from accord.policies.capabilities import Differentiable
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


class DDPO(Rollout):
    """``A = (R - mean) / std`` over a prompt's last rewards: denoising diffusion policy optimisation (Black et al. 2023, arXiv 2305.13301).

    Args:
        buffer: rewards that are kept of each prompt. min_count: how many of them it takes before they count.
        clip: of each step's ratio; the default is for log-probs that are means over the latent.
        most: bound on the advantage.
        sampling: as in `Rollout`; None averages log-probs over the latent.
    """

    def __init__(self, policy: Differentiable, reward: Reward, *, buffer: int = 32, min_count: int = 16, clip: float = 1e-4,
                 most: float = 10.0, sampling: Any = None, group_size: int = 1, **shared: Unpack[Drawn]) -> None:  # fmt: skip
        super().__init__(policy, reward, PerPrompt(buffer, min_count, clip, most), sampling=sampling, group_size=group_size,
                         reference=None, **shared)  # fmt: skip

    def default_sampling(self) -> Any:
        return replace(super().default_sampling(), average=True)
