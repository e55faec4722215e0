"""What every generator gives and takes, whatever it generates: the words that algorithms speak."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.engine.batch import Batch, Index, Padded, Whole
from accord.engine.seeds import Seeds
from accord.errors import ConfigError
from accord.feedback.records import Prompt
from accord.losses import LogProbs


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        max_new_tokens: longest completion, in actions (> 0).
        temperature: > 0; log-probs are those at this temperature. 0 takes the likeliest token (not for training).
        top_p: in (0, 1]; below 1 for use only: rollouts drawn so can't train, their ratios would be wrong.
        stop: strings that end a completion (kept in it).
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(f"sampling wants max_new_tokens >= 1, temperature >= 0, 0 < top_p <= 1, but got {self}")

    def check_trainable(self) -> None:
        """Raise ConfigError for settings under which importance ratios would be wrong."""
        if self.top_p < 1 or self.temperature == 0:
            raise ConfigError(
                "training rollouts are never truncated: set top_p=1 and temperature>0 (log-ratios would be wrong)"
            )


@dataclass(frozen=True)
class Rollouts(Batch):
    """N sampled episodes over P prompts: one action a step, whether a token or a denoising step.

    Attributes:
        prompts: the P distinct prompts. group: which of them each episode answers.
        completions: what came out, for rewards to read.
        mask: the policy's own steps (an environment's steps between them are False).
        logprobs: of each action as it was drawn, at the sampled temperature; 0 outside the mask.
        finished: False where an episode was cut at the length limit.
        context: columns aligned with the episodes, handed to rewards.
        actions: a payload that only its policy understands, with a row an episode. sampling: how they were drawn, as the policy knows it.
        reference: the log-probs of a frozen reference, where one is compared with.
        values: a critic's estimate at each step, where there is a critic.
        behaviour: the log-probs with which an engine drew each action, where one did; `logprobs` are the policy's own of them.
        averaged: parts of an action that its log-prob is a mean over (elements of a latent); 1 where it is of the whole.
    """

    prompts: Whole[list[Prompt]]
    group: Int[Tensor, "n"]
    completions: list[Any]
    mask: Padded[Bool[Tensor, "n t"]]
    logprobs: Padded[Float[Tensor, "n t"]]
    finished: Bool[Tensor, "n"]
    actions: Any
    sampling: Whole[Any] = field(default_factory=Sampling)
    context: dict[str, Any] = field(default_factory=dict)
    reference: Padded[Float[Tensor, "n t"] | None] = None
    values: Padded[Float[Tensor, "n t"] | None] = None
    behaviour: Padded[Float[Tensor, "n t"] | None] = None
    averaged: Whole[int] = 1

    @property
    def length(self) -> Int[Tensor, "n"]:
        return self.mask.sum(-1)

    def prompt_of_each(self) -> list[Prompt]:
        return [self.prompts[g] for g in self.group.tolist()]

    def select(self, rows: Index) -> "Rollouts":
        """The given episodes in the given order, with only the prompts they need."""
        some = super().select(rows)
        kept, group = torch.unique(some.group, return_inverse=True)
        return replace(some, prompts=[self.prompts[g] for g in kept.tolist()], group=group)

    @classmethod
    def concat(cls, parts: Sequence["Rollouts"]) -> "Rollouts":
        """Several rollouts as one (other ranks', other snapshots'), padded to the longest; their prompts stay apart."""
        before = accumulate((len(p.prompts) for p in parts), initial=0)
        joined = super().concat([replace(p, group=p.group + n) for p, n in zip(parts, before, strict=False)])
        return replace(joined, prompts=[x for p in parts for x in p.prompts])


@dataclass(frozen=True)
class Group:
    """A prompt and its completions, as a preference loss or a scorer sees them together."""

    prompt: Prompt
    completions: tuple[Any, ...]


class Policy(Protocol):
    """A generator. Training methods carry gradients; `sample` does not.

    `sampling_kind` makes the default of its own sampling options.
    """

    @property
    def sampling_kind(self) -> Any: ...

    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Any = ..., *, seed: int | Seeds = 0,
               context: dict[str, list[Any]] | None = None) -> Rollouts: ...  # fmt: skip
    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]: ...
    def draw(self, groups: Sequence[Group], seed: int | Seeds) -> Any: ...
    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs: ...
    def freeze(self, which: str = "base") -> "Policy": ...
    def parameters(self) -> Any: ...


__all__ = ["Group", "Policy", "Prompt", "Rollouts", "Sampling"]
