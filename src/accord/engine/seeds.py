"""Every random number is derived from (seed, step, row, purpose): resume is exact, parallel runs are comparable."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *where: int, purpose: str = "") -> int:
    """A 63-bit seed for this place and purpose; equal arguments give equal seeds, on any machine."""
    text = ":".join(map(str, (seed, *where, purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *where: int, purpose: str = "") -> torch.Generator:
    """A CPU generator at the derived seed."""
    return torch.Generator().manual_seed(derive(seed, *where, purpose=purpose))


@contextmanager
def seeded(seed: int, *where: int, purpose: str = "") -> Iterator[None]:
    """Inside, first weights and whatever else draws from torch's global generator come from the derived seed; outside
    nothing is seen of it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, *where, purpose=purpose))
        yield
