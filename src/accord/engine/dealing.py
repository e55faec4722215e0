"""Which rows a process takes in which step, minibatch and forward pass: on every one equally often, whatever it has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from accord.engine.seeds import generator


@dataclass(frozen=True)
class Piece:
    """Rows of one forward pass.

    Attributes:
        counts: False where they are here only because other processes have more to do: their loss then weighs nothing.
    """

    rows: list[int]
    counts: bool = True


def batch(rows: int, size: int, step: int, seed: int, rank: int = 0, ranks: int = 1) -> Iterator[int]:
    """A process's rows of a step's global batch: an endless stream of all rows, shuffled anew in each pass."""
    order: dict[int, list[int]] = {}
    for i in range(step * size, (step + 1) * size)[rank::ranks]:
        epoch = i // rows
        if epoch not in order:
            order[epoch] = torch.randperm(rows, generator=generator(seed, epoch, purpose="order")).tolist()
        yield order[epoch][i % rows]


def deal(sizes: Sequence[int], rank: int, minibatches: int, micro: int | None, shuffle: torch.Generator) -> list[list[Piece]]:  # fmt: skip
    """Cut an experience, of which every process has `sizes[rank]` rows, into minibatches and these into forward passes.

    The rows of all processes together are dealt out in turn, so minibatches differ by one row at most and none is empty.
    Every process gets equally many minibatches and, in each, equally many forward passes.

    Args:
        micro: rows in one forward pass at most; None for all of a minibatch.
        shuffle: orders the rows, where there are several minibatches.
    """
    parts = min(minibatches, sum(sizes))
    own = sizes[rank]
    order = torch.randperm(own, generator=shuffle).tolist() if parts > 1 else list(range(own))
    before = sum(sizes[:rank])
    dealt = []
    for i in range(parts):
        mine = sorted(order[(i - before) % parts :: parts])
        most = max(len(range((i - sum(sizes[:r])) % parts, n, parts)) for r, n in enumerate(sizes))
        size = micro or most
        pieces = [Piece(mine[j : j + size]) for j in range(0, len(mine), size)]
        idle = -(-most // size) - len(pieces)
        dealt.append(pieces + [Piece(mine[-1:] or [0], counts=False)] * idle)
    return dealt
