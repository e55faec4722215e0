"""Every random number is derived from (seed, step, row, purpose): resume is exact, parallel runs are comparable."""

import hashlib

import torch


def derive(seed: int, *where: int, purpose: str = "") -> int:
    """A 63-bit seed for this place and purpose; equal arguments give equal seeds, on any machine."""
    text = ":".join(map(str, (seed, *where, purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *where: int, purpose: str = "") -> torch.Generator:
    """A CPU generator at the derived seed."""
    return torch.Generator().manual_seed(derive(seed, *where, purpose=purpose))
