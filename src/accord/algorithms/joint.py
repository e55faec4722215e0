"""Several algorithms on one policy at once: in each step a batch from every one's own data, one gradient of their weighted sum."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from accord.algorithms.options import Told
from accord.engine import Learner, Loss, Mean, Rows, Step, check_rows, derive
from accord.engine.origin import rows_fingerprint
from accord.engine.seeds import of_rows
from accord.errors import ConfigError, FeedbackError
from accord.feedback import rows_of


@dataclass(frozen=True)
class Stream:
    """One of the algorithms.

    Attributes:
        data: rows of its own, as `fit` takes them; None takes the rows that `fit` deals out.
        weight: of its mean loss in the sum.
    """

    algorithm: Any
    weight: float = 1.0
    data: Any = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ConfigError(f"a stream's weight must be a number, but is {self.weight}")
        if self.data is not None:
            object.__setattr__(self, "data", rows_of(self.data))
            if not len(self.data):
                raise ConfigError("a stream has no rows to train on: leave its data out, or give some")


@dataclass(frozen=True)
class Pieces:
    """Every stream's experience of a step, cut alike."""

    parts: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def select(self, rows: Sequence[int]) -> "Pieces":
        return Pieces({name: part.select(rows) for name, part in self.parts.items()})


class Joint(Told, Learner):
    """``sum_i w_i * mean loss_i``, for algorithms that train the same policy.

    The first stream sees the same randomness as it would alone, so with the others' weights at 0 it runs bit for bit as alone.
    A mean is taken over what is in one forward pass: streams whose rows count unequally want no micro batches.
    """

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        super().__init__()
        if not streams:
            raise ConfigError("Joint wants at least one stream")
        self.streams = dict(streams)
        self.algorithms = nn.ModuleDict({name: s.algorithm for name, s in streams.items()})
        first = next(iter(streams.values())).algorithm
        if any(s.algorithm.policy is not first.policy for s in streams.values()):
            raise ConfigError("the streams of Joint must train one and the same policy")
        self.policy = first.policy

    @property
    def trainables(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for stream in self.streams.values():
            found |= stream.algorithm.trainables
        return found

    def check(self, rows: Sequence[Any]) -> None:
        """Every stream's rows must be such as its algorithm learns from."""
        for name, stream in self.streams.items():
            try:
                check_rows(stream.algorithm, rows if stream.data is None else stream.data)
            except FeedbackError as error:
                raise FeedbackError(f"stream {name}: {error}") from error

    def settings(self) -> dict[str, Any]:
        return {"class": "Joint", **{n: self._settings(s) for n, s in self.streams.items()}}

    def _settings(self, stream: Stream) -> dict[str, Any]:
        own = None if stream.data is None else rows_fingerprint(stream.data)
        return {"algorithm": stream.algorithm.settings(), "weight": stream.weight, "data": own}

    def experience(self, batch: Rows, step: Step) -> Pieces:
        parts: dict[str, Any] = {}
        for i, (name, stream) in enumerate(self.streams.items()):
            own = step if i == 0 else replace(step, seed=derive(step.seed, i, purpose="stream"), metrics={})
            n = len(next(iter(parts.values()))) if parts else len(batch)  # the first may make several rows of one
            parts[name] = stream.algorithm.experience(self._rows(stream, batch, own, n), own)
            if own is not step:
                step.metrics |= {f"{name}/{k}": v for k, v in own.metrics.items()}
        if len({len(p) for p in parts.values()}) > 1:
            raise ConfigError(f"streams give different numbers of rows: { {n: len(p) for n, p in parts.items()} }")
        return Pieces(parts)

    def _rows(self, stream: Stream, batch: Rows, step: Step, n: int) -> Rows:
        if stream.data is None:
            return batch
        own = stream.data
        drawn = of_rows(
            lambda k, g: torch.randint(len(own), (k,), generator=g), step.seeds(n, purpose="rows"), n, "rows"
        )
        return Rows(own[i] for i in drawn.tolist())

    def forward(self, pieces: Pieces) -> Loss:
        total: Any = 0.0
        metrics: dict[str, Mean] = {}
        for name, part in pieces.parts.items():
            loss = self.algorithms[name](part)
            share = len(pieces) / loss.weight if loss.weight else 0.0
            total = total + self.streams[name].weight * share * loss.sum
            metrics |= {f"{name}/{k}": v for k, v in loss.metrics.items()}
            metrics[f"{name}/loss"] = Mean(float(loss.sum.detach()), loss.weight)
        return Loss(total, float(len(pieces)), metrics)

    def state(self) -> dict[str, Tensor]:
        return {f"{n}/{k}": v for n, s in self.streams.items() for k, v in s.algorithm.state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for n, s in self.streams.items():
            s.algorithm.load_state({k.removeprefix(f"{n}/"): v for k, v in state.items() if k.startswith(f"{n}/")})
