"""Keep freed memory in the process; know when there was too little."""

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Tell glibc's allocator not to hand freed blocks back to the system (elsewhere: nothing).

    Every large tensor otherwise comes as fresh pages that the kernel must zero again: up to a fifth of a step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def ran_out(error: Exception) -> bool:
    """Whether memory ran out, an accelerator's or the machine's: that says nothing of the file that was being read."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
