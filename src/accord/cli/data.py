"""What commands have in common: splits, checks, notes on stderr, one process that writes, quiet libraries."""

import contextlib
import sys
from collections.abc import Iterator

from accord.engine import on_main, wait_for_all
from accord.engine.processes import failing_together
from accord.errors import ConfigError, ModelError
from accord.feedback import Feedback


def split(records: Feedback, share: float, seed: int, by: str) -> tuple[Feedback, Feedback]:
    """Train and test; refused if either would be empty."""
    if not 0 < share < 1:
        raise ConfigError(f"test must lie between 0 and 1, but is {share}")
    train, test = records.split(share, seed=seed, by=by)
    if not len(train) or not len(test):
        raise ConfigError(
            f"splitting by {by} leaves {len(train)} records to train on and {len(test)} to test on; change test or split_by"
        )
    return train, test


def at_least_one(**options: int | None) -> None:
    """Refuse numbers of things below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, but is {value}")


@contextlib.contextmanager
def first_process() -> Iterator[bool]:
    """Whether this is the process that writes; the others wait for it, and end with it if it fails."""
    with failing_together():
        yield on_main()
    wait_for_all()


def say(text: str) -> None:
    """A note on stderr, by the first process alone."""
    if on_main():
        print(text, file=sys.stderr)


def quiet_diffusers() -> None:
    """As for the other libraries: their chatter is not ours to show. Apart from them, since only pictures need it.

    Raises:
        ModelError: diffusers is not installed.
    """
    try:
        from diffusers.utils import logging
    except ImportError as error:
        raise ModelError('pictures need diffusers: pip install "accord[image]"') from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
