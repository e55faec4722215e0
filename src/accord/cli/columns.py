"""What a reward is told of a record beside its prompt and its answers."""

import inspect
from functools import wraps
from typing import Any

from accord.errors import ConfigError


def heeding(reward: Any, spec: str) -> Any:
    """A user's function as a reward: it is passed what its signature names, and all columns where it takes ``**columns``.

    Args:
        reward: anything but a function stays as it is. spec: what to call it.

    Raises:
        ConfigError: (the reward, when it is called) it wants a column that the data lack.
    """
    if not inspect.isfunction(reward):
        return reward
    named = {n: p for n, p in inspect.signature(reward).parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}  # fmt: skip
    takes_all = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(reward).parameters.values())

    @wraps(reward)
    def called(**given: Any) -> Any:
        lacking = [n for n, p in named.items() if p.default is p.empty and n not in given]
        if lacking:
            has = ", ".join(sorted(given.keys() - {"prompts", "completions", "group"})) or "none"
            raise ConfigError(f"{spec} wants the column {lacking[0]!r}, but the data have no such one (their columns: {has}); it gets prompts, "
                              "completions, group and columns, by name")  # fmt: skip
        return reward(**(given if takes_all else {n: given[n] for n in named if n in given}))

    return called


def with_context(record: Any) -> Any:
    """A record with its context among its columns, where rewards read it."""
    context = getattr(record, "context", None)
    return record if context is None else record.model_copy(update={"columns": {**record.columns, "context": context}})
