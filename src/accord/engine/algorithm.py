"""What the loop and an algorithm say to each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from accord.engine.seeds import Seeds, derive
from accord.engine.settings import settings_of
from accord.errors import FeedbackError


@dataclass(frozen=True)
class Mean:
    """A mean still in two parts, so that parts of a batch and ranks combine without bias."""

    sum: float
    weight: float

    @classmethod
    def of(cls, x: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"] | None = None) -> "Mean":
        x = x.detach().float()
        if mask is None:
            return cls(float(x.sum()), float(x.numel()))
        return cls(float(x.masked_fill(~mask, 0.0).sum()), float(mask.sum()))

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.sum + other.sum, self.weight + other.weight)

    @property
    def value(self) -> float:
        return self.sum / self.weight if self.weight else 0.0


def add(total: dict[str, Mean], more: Mapping[str, Mean]) -> None:
    """Take more means into a total, name by name."""
    for name, mean in more.items():
        total[name] = total[name] + mean if name in total else mean


@dataclass(frozen=True)
class Loss:
    """A sum with its graph, and the weight it counts for.

    The loop divides by the weight of the whole global batch, so accumulation, ranks and ragged lengths all give
    the gradient of the same mean.
    """

    sum: Float[Tensor, ""]
    weight: float
    metrics: dict[str, Mean] = field(default_factory=dict)


class Sliceable(Protocol):
    """Experience that can be cut into minibatches."""

    def __len__(self) -> int: ...
    def select(self, rows: Sequence[int]) -> Any: ...


class Rows(list[Any]):
    """Offline data as experience: plain records."""

    def select(self, rows: Sequence[int]) -> "Rows":
        return Rows(self[i] for i in rows)


# Hooks that put sharded weights together for the backward pass look for tensors in what a module returns.
torch.utils._pytree.register_dataclass(Loss)


@dataclass
class Step:
    """Where in a run an algorithm is asked for experience.

    Attributes:
        number: counted from 0. seed: of the run; derive every generator from (seed, number, …).
        rank, ranks: this process and how many there are.
        gather: objects of all ranks, in order of rank.
        metrics: what the algorithm wants logged beside its losses.
    """

    number: int
    seed: int
    rank: int = 0
    ranks: int = 1
    gather: Callable[[Any], list[Any]] = field(default=lambda x: [x])
    metrics: dict[str, Mean] = field(default_factory=dict)

    def seeds(self, rows: int, *where: int, purpose: str) -> Seeds:
        """A seed for the rows that are this process's (every `ranks`th of the step's)."""
        mine = tuple(self.rank + i * self.ranks for i in range(rows))
        return Seeds(derive(self.seed, self.number, 0, *where, purpose=purpose), mine, rows * self.ranks)

    def log(self, name: str, value: Tensor | float, mask: Tensor | None = None) -> None:
        x = torch.as_tensor(value, dtype=torch.float32)
        self.metrics[name] = Mean.of(x, mask)


@runtime_checkable
class Algorithm(Protocol):
    """An `nn.Module` that holds everything it trains, so that DDP and FSDP wrap it whole.

    `trainables` names the models that train, one optimiser each. `experience` turns a batch of data into rows
    (without gradient; offline data are their own experience). Calling it gives the loss of a minibatch.

    It may also say which kinds of `rows` it learns from, `check` all of them before training starts (FeedbackError, with
    the record's number), and name its `settings`; see `Learner`.
    """

    @property
    def trainables(self) -> dict[str, nn.Module]: ...
    def experience(self, batch: Rows, step: Step) -> Sliceable: ...
    def __call__(self, minibatch: Any) -> Loss: ...
    def state(self) -> dict[str, Tensor]: ...
    def load_state(self, state: dict[str, Tensor]) -> None: ...


class Learner(nn.Module):
    """An algorithm whose data are their own experience and that remembers nothing but its models' weights.

    Attributes:
        rows: classes of which every row must be one; none where any will do.
    """

    rows: tuple[type, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Its options as JSON can say them: noted in run.json, and compared when a run goes on."""
        return settings_of(self)

    def experience(self, batch: Rows, step: Step) -> Any:
        return batch

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """There is nothing to load."""


def check_rows(algorithm: Any, rows: Sequence[Any]) -> None:
    """Raise FeedbackError, with its number, for a row that the algorithm can't learn from."""
    kinds = getattr(algorithm, "rows", ())
    if kinds:
        for i, row in enumerate(rows, 1):
            if not isinstance(row, kinds):
                plain = {str: "text", list: "conversation"}
                found, *wanted = (plain.get(k, k.__name__) for k in (type(row), *kinds))
                raise FeedbackError(
                    f"record {i} is a {found}, but {type(algorithm).__name__} learns from {' or '.join(wanted)}"
                )
    if hasattr(algorithm, "check"):
        algorithm.check(rows)
