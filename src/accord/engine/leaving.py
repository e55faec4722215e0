"""How a run is left: asked by Ctrl-C, or together with the other processes."""

import atexit
import contextlib
import functools
import signal
import threading
from datetime import timedelta
from typing import Any

import torch.distributed


class CtrlC:
    """The first Ctrl-C asks the loop to stop after the step, the second stops at once."""

    def __enter__(self) -> "CtrlC":
        self.asked = False
        self._old = None
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)


@functools.cache
def leave_group_at_exit() -> None:
    """A process that dies with its group's threads running may abort once the first one has gone: all leave together."""
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        if torch.distributed.get_backend() == "gloo":
            with contextlib.suppress(RuntimeError):  # one that has died isn't waited for
                torch.distributed.monitored_barrier(timeout=timedelta(seconds=10))
        torch.distributed.destroy_process_group()
