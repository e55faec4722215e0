"""What a user can do wrong, each as one line: what is wrong, where, and how to mend it."""


class AccordError(Exception):
    """Base of every error that a user can mend; the command line prints its text and nothing else."""

    exit_code = 2


class FeedbackError(AccordError):
    """A record, file or column of feedback is missing or malformed."""


class ConfigError(AccordError):
    """Options that do not fit together or lie outside their range."""


class ModelError(AccordError):
    """A model or tokeniser that can't be found, read or used for this."""


class RewardError(AccordError):
    """A reward returned something that is not one number for each sample."""


class NumericsError(AccordError):
    """A loss or gradient became NaN or infinite; the batch that did it was saved."""

    exit_code = 1


class RunError(AccordError):
    """A run's folder can't be written, read or resumed."""

    exit_code = 1


class Interrupted(AccordError):
    """Ctrl-C: the run stopped after a whole step and left a checkpoint."""

    exit_code = 130


def wanted(holds: bool, what: str, got: object) -> None:
    """Refuse options that lie outside their range."""
    if not holds:
        raise ConfigError(f"{what}, but got {got}")


def one_of(name: str, word: object, *known: str) -> None:
    """Refuse an option's word that means nothing."""
    if word not in known:
        raise ConfigError(f"{name}={word!r} is none of {', '.join(known)}")
