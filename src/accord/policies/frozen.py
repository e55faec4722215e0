"""A policy that never changes: what log-ratios compare with."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.seeds import Seeds
from accord.engine.store import fingerprint
from accord.losses import LogProbs
from accord.policies.base import Group, Rollouts


class FrozenPolicy:
    """The same face, without gradients; any policy with `without_adapter` and `weights` can be frozen.

    Args:
        adapter_off: the weights under the policy's adapter are meant. weights: or these, by name, in place of its own.
    """

    def __init__(self, policy: Any, *, adapter_off: bool = False, weights: Mapping[str, Tensor] | None = None) -> None:
        self._policy, self._adapter_off, self._weights = policy, adapter_off, dict(weights or {})

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[Any]:
        with torch.no_grad(), self._policy.without_adapter() if self._adapter_off else self._exchanged():
            yield self._policy

    @contextlib.contextmanager
    def _exchanged(self) -> Iterator[None]:
        """With our weights in the place of the policy's own."""
        live = {n: p for n, p in self._policy.named_parameters() if n in self._weights} if self._weights else {}
        own = {n: p.data for n, p in live.items()}
        for n, p in live.items():
            p.data = self._weights[n]
        try:
            yield
        finally:
            for n, p in live.items():
                p.data = own[n]

    @torch.no_grad()
    def put_back(self, policy: nn.Module) -> None:
        """Make the policy that was frozen what it was then."""
        then = self._weights or dict(self._policy.named_parameters())
        for n, p in policy.named_parameters():
            if n in then:
                p.copy_(then[n])

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follow the policy to a device or precision; see `Aside`."""
        if self._weights:
            self._weights = {n: fn(w) for n, w in self._weights.items()}
        elif not self._adapter_off:
            self._policy._apply(fn)

    def sample(self, *args: Any, **kwargs: Any) -> Rollouts:
        with self._frozen() as policy:
            engine, policy.engine = getattr(policy, "engine", None), None  # it has the live weights, not these
            try:
                return policy.sample(*args, **kwargs)
            finally:
                policy.engine = engine

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        with self._frozen() as policy:
            return policy.logprobs(rollouts)

    @property
    def sampling_kind(self) -> Any:
        return self._policy.sampling_kind

    def draw(self, groups: Sequence[Group], seed: int | Seeds) -> Any:
        return self._policy.draw(groups, seed)

    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs:
        with self._frozen() as policy:
            return policy.likelihood(groups, draw)

    def keys(self, groups: Sequence[Group]) -> list[list[Any]]:
        """What tells each completion's likelihood apart; see `LanguagePolicy.keys`."""
        return self._policy.keys(groups)

    def freeze(self, which: str = "now") -> "FrozenPolicy":
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of the weights that are in use."""
        with self._frozen() as policy:
            return f"{fingerprint(policy.weights(adapter=not self._adapter_off))}:{self._adapter_off}"

    def parameters(self) -> Iterator[nn.Parameter]:
        return iter(())
