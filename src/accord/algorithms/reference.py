"""What a policy is compared with while it learns: a frozen one, by one rule for all methods, and its log-probs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine import Step
from accord.engine.store import Store
from accord.errors import ConfigError
from accord.feedback import prompt_key
from accord.losses import LogProbs
from accord.policies.base import Group, Policy, Rollouts
from accord.policies.capabilities import Freezes
from accord.policies.placement import Aside

Which = Policy | str | Path | Literal["base", "now"]
"""A policy, "base" (the trained one as it began), "now" (as it is) or where a saved one lies."""


class Reference(nn.Module):
    """A frozen policy beside the one that learns. It follows it to a device, and is nobody's to train or save.

    Its log-probs of given completions are computed once: kept on disk where a folder is given, else in checkpoints, so that
    a run that goes on compares with the very same numbers.

    Args:
        policy: the one that learns. which: see `Which`. store: folder that keeps log-probs for later runs on the same data
            and model. by_step: keep them step by step.
    """

    def __init__(self, policy: Freezes, which: Which = "base", *, store: str | Path | None = None, by_step: bool = False) -> None:  # fmt: skip
        super().__init__()
        frozen = policy.freeze(str(which)) if isinstance(which, str | Path) else which
        self._policy, self._which = Aside(frozen), str(which) if isinstance(which, str | Path) else type(which).__name__
        self.by_step, self._on_disk = by_step, store is not None
        self._store = Store(store, "reference-logprobs")
        # Only what outlives the process must be told apart by its weights.
        self._fingerprint = getattr(frozen, "fingerprint", "") if self._on_disk else ""

    @classmethod
    def wanted(cls, by: Any, which: Which | None, **options: Any) -> "Reference | None":
        """For an algorithm: made where its `needs_reference` says so, and only there.

        Raises:
            ConfigError: it wants one, but `which` is None.
        """
        if not by.needs_reference:
            return None
        if which is None:
            how = " (or set kl=0)" if hasattr(getattr(by, "credit", None), "kl") else ""
            raise ConfigError(f"{type(by).__name__} compares with a reference: give one{how}")
        return cls(by.policy, which, **options)

    def settings(self) -> dict[str, Any]:
        return {"which": self._which, "by_step": self.by_step}

    @property
    def policy(self) -> Any:
        return self._policy[0]

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """Of what was sampled, on the CPU."""
        return self.policy.logprobs(rollouts).cpu()

    def forward(self, groups: Sequence[Group], draw: Any, step: Step) -> LogProbs:
        """Of what is given, on the CPU, in the order of groups and completions."""
        if draw is not None:  # another draw, another value: nothing to keep
            if self._on_disk:
                raise ConfigError(
                    "store keeps exact log-probs, but this policy's differ from draw to draw: leave it out"
                )
            return self._found(groups, draw)
        keys = [Store.key(self._fingerprint, self.by_step, k) for row in self._keys(groups) for k in row]
        known = self._store.get(keys)
        starts = torch.tensor([0, *(len(g.completions) for g in groups)]).cumsum(0).tolist()
        todo = [i for i in range(len(groups)) if any(k not in known for k in keys[starts[i] : starts[i + 1]])]
        fresh: dict[bytes, Tensor] = {}
        if todo:
            named = [k for i in todo for k in keys[starts[i] : starts[i + 1]]]
            fresh = {
                k: v for k, v in zip(named, self._values([groups[i] for i in todo]), strict=True) if k not in known
            }
        for part in [fresh] if self._on_disk else step.gather(fresh):
            self._store.put(part)
        return self._joined([(known | fresh)[k] for k in keys])

    def _found(self, groups: Sequence[Group], draw: Any = None) -> LogProbs:
        found = self.policy.likelihood(groups, draw)
        if self.by_step and found.per_step is None:
            raise ConfigError("this loss compares step by step, but the policy's likelihood has no steps")
        return found.cpu()

    def _values(self, groups: Sequence[Group]) -> Sequence[Tensor]:
        """What is kept of each completion: its log-prob, or those of its steps."""
        found = self._found(groups)
        if not self.by_step:
            return found.policy[:, None].unbind()
        assert found.per_step is not None
        return [row[: int(n)] for row, n in zip(found.per_step, found.length, strict=True)]

    def _joined(self, values: list[Tensor]) -> LogProbs:
        steps = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        length = torch.tensor([float(len(v)) for v in values])
        return LogProbs(steps.sum(-1), length, per_step=steps if self.by_step else None)

    def _keys(self, groups: Sequence[Group]) -> list[list[Any]]:
        """What each value depends on beside the weights: for a language model its tokens, whatever template wrote them."""
        if hasattr(self.policy, "keys"):
            return self.policy.keys(groups)
        return [[[prompt_key(g.prompt), c] for c in g.completions] for g in groups]

    def state(self) -> dict[str, Tensor]:
        return {} if self._on_disk else self._store.tensors()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._store.take(state)
