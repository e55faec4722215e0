"""Every random number is derived from (seed, step, row, purpose): resume is exact, parallel runs are comparable."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, *where: int, purpose: str = "") -> int:
    """A 63-bit seed for this place and purpose; equal arguments give equal seeds, on any machine."""
    text = ":".join(map(str, (seed, *where, purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *where: int, purpose: str = "") -> torch.Generator:
    """A CPU generator at the derived seed."""
    return torch.Generator().manual_seed(derive(seed, *where, purpose=purpose))


@dataclass(frozen=True)
class Seeds:
    """One seed for some rows, each by its number among the rows of all processes: however many processes share them, a
    row's draws are the same.

    Attributes:
        rows: numbers of the rows that are here. of: how many there are in all.
    """

    seed: int
    rows: tuple[int, ...]
    of: int

    def times(self, n: int) -> "Seeds":
        """For n draws of each row."""
        return Seeds(self.seed, tuple(row * n + j for row in self.rows for j in range(n)), self.of * n)


def times(seed: int | Seeds, n: int) -> int | Seeds:
    """The seed of n draws of each row."""
    return seed.times(n) if isinstance(seed, Seeds) else seed


def numbered(seed: int | Seeds, rows: int) -> tuple[int, tuple[int, ...]]:
    """A seed and the numbers of so many rows: their own, or simply counted."""
    return (seed.seed, seed.rows) if isinstance(seed, Seeds) else (seed, tuple(range(rows)))


def of_rows(draw: Callable[[int, torch.Generator], Tensor], seed: int | Seeds, rows: int, purpose: str) -> Tensor:
    """What a draw for all rows gives those that are here."""
    if isinstance(seed, int):
        return draw(rows, generator(seed, purpose=purpose))
    return draw(seed.of, generator(seed.seed, purpose=purpose))[list(seed.rows)]


def seed_everything(seed: int, *where: int, purpose: str = "") -> None:
    """Put the global generators (torch's, NumPy's, Python's) at the derived seed: for what draws from them unasked."""
    derived = derive(seed, *where, purpose=purpose)
    torch.manual_seed(derived)
    np.random.seed(derived % 2**32)
    random.seed(derived)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn from the global generators inside, outside nothing is seen of it."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    numpy, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(numpy)
        random.setstate(python)


@contextmanager
def seeded(seed: int, *where: int, purpose: str = "") -> Iterator[None]:
    """Inside, first weights and whatever else draws from the global generators come from the derived seed; outside
    nothing is seen of it."""
    with undisturbed():
        seed_everything(seed, *where, purpose=purpose)
        yield
