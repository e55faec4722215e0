"""A policy that never changes: what log-ratios compare with."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.store import fingerprint
from accord.losses import LogProbs
from accord.policies.base import Group, Rollouts


class FrozenPolicy:
    """The same face, without gradients; any policy with `without_adapter` and `weights` can be frozen."""

    def __init__(self, policy: Any, *, adapter_off: bool = False) -> None:
        self._policy = policy
        self._adapter_off = adapter_off

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[Any]:
        was_training = self._policy.training
        with torch.no_grad(), self._policy.without_adapter() if self._adapter_off else contextlib.nullcontext():
            self._policy.eval()
            try:
                yield self._policy
            finally:
                self._policy.train(was_training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As a module's: `Aside` moves it."""
        self._policy._apply(fn, recurse)
        return self

    def sample(self, *args: Any, **kwargs: Any) -> Rollouts:
        with self._frozen() as policy:
            return policy.sample(*args, **kwargs)

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        with self._frozen() as policy:
            return policy.logprobs(rollouts)

    @property
    def sampling_kind(self) -> Any:
        return self._policy.sampling_kind

    def draw(self, groups: Sequence[Group], seed: int) -> Any:
        return self._policy.draw(groups, seed)

    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs:
        with self._frozen() as policy:
            return policy.likelihood(groups, draw)

    def freeze(self, which: str = "now") -> "FrozenPolicy":
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of the weights that are in use."""
        return f"{fingerprint(self._policy.weights(adapter=not self._adapter_off))}:{self._adapter_off}"

    def parameters(self) -> Iterator[nn.Parameter]:
        return iter(())
