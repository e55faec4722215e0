"""Least squares on rows (x, y, weight): the smallest algorithm there is, for tests of the loop."""

from typing import Any

import torch
from torch import nn

from accord.engine import Learner, Loss, Mean, Rows, Run, fit

DATA = [(float(i % 7) / 7, 2.0 * (i % 7) / 7 + 1, 1.0 + i % 3) for i in range(24)]


class Line(Learner):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1).double()
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"line": self.line}

    def forward(self, rows: Rows) -> Loss:
        x, y, w = torch.tensor(rows, dtype=torch.float64).T
        error = (self.line(x[:, None])[:, 0] - y).square()
        return Loss((w * error).sum(), float(w.sum()), {"error": Mean.of(error)})


class Picky(Line):
    """Learns from large x alone: on each process from another number of rows, or from a row that weighs nothing."""

    def experience(self, batch: Rows, step: Any) -> Rows:
        return Rows(r for r in batch if r[0] > 0.6) or Rows([(0.0, 0.0, 0.0)])


def weights(algorithm: Line) -> tuple[float, float]:
    return float(algorithm.line.weight.detach()), float(algorithm.line.bias.detach())


def train(algorithm: Line | None = None, **options: Any) -> tuple[Line, Run]:
    algorithm = algorithm or Line()
    given = {"data": DATA, "steps": 6, "batch_size": 12, "lr": 0.05, "progress": False, **options}
    return algorithm, fit(algorithm, **given)
