"""Every random number is derived from (seed, step, row, purpose): resume is exact, parallel runs are comparable."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *where: int, purpose: str = "") -> int:
    """A 63-bit seed for this place and purpose; equal arguments give equal seeds, on any machine."""
    text = ":".join(map(str, (seed, *where, purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *where: int, purpose: str = "") -> torch.Generator:
    """A CPU generator at the derived seed."""
    return torch.Generator().manual_seed(derive(seed, *where, purpose=purpose))


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
