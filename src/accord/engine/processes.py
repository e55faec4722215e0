"""The processes of a run: what all of them have, and none that waits for one that has failed."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env

from accord.errors import RunError

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


class OtherFailed(RunError):
    """Another process failed, so this one ends too."""

    told = True


E = TypeVar("E", bound=Exception)


def known(error: E) -> E:
    """An error that all processes raise alike: none has to hear of it."""
    error.told = True  # type: ignore[attr-defined]
    return error


def group() -> PartialState:
    """What accelerate knows of the processes; the first to ask forms the group, on CPUs too."""
    if PartialState._shared_state:
        return PartialState()
    # Of models that FSDP is to shard, transformers would load the first process's alone. Here each has what samples.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def on_main() -> bool:
    """Whether this is the first process of its group, or the only one: the one that writes."""
    return bool(group().is_main_process)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    gather(None)


def gather(value: Any, error: Exception | None = None) -> list[Any]:
    """What every process has, in order of rank; `error` tells the others that this one has failed.

    Raises:
        error: itself, where one is given.
        OtherFailed: another process gave one.
    """
    if group().num_processes == 1 or _ALONE.get():
        told = [(None, value)]
    else:
        told = gather_object([(None if error is None else str(error) or type(error).__name__, value)])
    if error is not None:
        raise known(error)
    for rank, (failed, _) in enumerate(told):
        if failed is not None:
            raise OtherFailed(f"process {rank} failed: {failed}")
    return [v for _, v in told]


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """What fails inside on one process makes all others fail at their next `gather`."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "told"):  # all know
            raise
        gather(None, error)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What this process does inside the others don't do: here `gather` has its value alone."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def agree(**facts: Any) -> None:
    """Raise RunError where the processes don't all say the same."""
    told = gather(facts)
    for rank, other in enumerate(told):
        for name, value in other.items():
            if value != told[0][name]:
                raise known(
                    RunError(
                        f"process {rank} has {name.replace('_', ' ')} {value}, but the first one {told[0][name]}: "
                        "give all the same data and options, and a folder that all of them see"
                    )
                )
