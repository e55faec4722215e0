"""Reading feedback for a command: columns, splits, length limits, chat turns."""

import sys
from collections.abc import Sequence
from typing import Any

from accord.errors import ConfigError, FeedbackError, ModelError
from accord.feedback import Comparison, Example, Feedback, Label, Ranking, Rating, read
from accord.policies.tokenise import Tokeniser


def load(path: str, columns: dict[str, str] | None, skip_bad: bool, limit: int | None, chat: bool) -> Feedback:
    """Read feedback and say what was left out."""
    found = read(path, columns=columns, skip_bad=skip_bad, limit=limit)
    if found.skipped:
        say(
            f"left out {len(found.skipped)} malformed records of {len(found.skipped) + len(found)}, the first: {found.skipped[0]}"
        )
    return Feedback(tuple(as_chat(r) for r in found)) if chat else found


def as_chat(record: Any) -> Any:
    """A text prompt as a user's message, so that the model's chat template frames it."""
    if isinstance(record.prompt, str):
        return record.model_copy(update={"prompt": [{"role": "user", "content": record.prompt}]})
    return record


def within(records: Feedback, tokeniser: Tokeniser, max_tokens: int | None) -> Feedback:
    """Only records whose prompt and longest completion fit."""
    if max_tokens is None:
        return records
    kept = tuple(r for r in records if _tokens(r, tokeniser) <= max_tokens)
    if len(kept) < len(records):
        say(f"left out {len(records) - len(kept)} of {len(records)} records longer than {max_tokens} tokens")
    if not kept:
        raise FeedbackError(f"every record is longer than max_tokens={max_tokens}; raise it")
    return Feedback(kept)


def _tokens(record: Any, tokeniser: Tokeniser) -> int:
    prompt = len(tokeniser.prompt(record.prompt))
    texts: Sequence[str] = ()
    if isinstance(record, Comparison):
        texts = (record.chosen, record.rejected)
    elif isinstance(record, Ranking):
        texts = record.completions
    elif isinstance(record, Rating | Label | Example):
        texts = (record.completion,)
    return prompt + max((len(tokeniser.completion(record.prompt, t)) for t in texts), default=0)


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


def say(text: str) -> None:
    """A note on stderr."""
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
