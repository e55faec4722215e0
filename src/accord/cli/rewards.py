"""Rewards as the command line names them: a saved model, a rule, or a function in a Python file."""

import importlib.util
import inspect
from pathlib import Path
from typing import Any

from accord import rewards
from accord.errors import ConfigError
from accord.rewards import Reward

RULES = ("exact_answer", "json_call", "length_penalty", "matches", "numeric_answer")

RewardSpec = str | dict[str, Any]


def check_reward(spec: RewardSpec) -> None:
    """Refuse, before anything is loaded, what `open_reward` could not open."""
    if isinstance(spec, dict):
        for name, options in spec.items():
            if name not in RULES:
                raise ConfigError(f"no rule called {name!r}; the rules are {', '.join(RULES)}")
            check_options(getattr(rewards, name), options or {}, f"reward {name}")
    elif ".py:" in spec:
        open_function(spec)
    else:
        _kind(Path(spec), spec)


def open_reward(spec: RewardSpec) -> Reward:
    """A reward of its specification.

    A folder saved by `accord reward train` (or any hub reward model), ``file.py:function``, or rules by name with
    their options; several rules are added up.
    """
    if isinstance(spec, dict):
        made = {name: getattr(rewards, name)(**(options or {})) for name, options in spec.items()}
        return next(iter(made.values())) if len(made) == 1 else rewards.combine(made)
    if ".py:" in spec:
        return open_function(spec)
    if _kind(Path(spec), spec) == "encoder":
        return rewards.EncoderReward.load(spec)
    return rewards.BradleyTerry.load(spec).eval().requires_grad_(False)


def check_options(function: Any, options: dict[str, Any], what: str) -> None:
    """Refuse options that a function doesn't have, or lacks without a default."""
    parameters = inspect.signature(function).parameters
    known = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    odd = sorted(set(options) - set(known))
    if odd:
        raise ConfigError(f"{what} has no option {odd[0]!r}; it has {', '.join(known) or 'none'}")
    missing = [n for n in known if parameters[n].default is inspect.Parameter.empty and n not in options]
    if missing:
        raise ConfigError(f"{what} wants the option {missing[0]!r}")


def _kind(path: Path, spec: str) -> str:
    if (path / "reward.json").is_file():
        return "encoder"
    from accord.policies.loading import resolve

    resolve(spec)
    return "classifier"


def open_function(spec: str) -> Any:
    """``file.py:function``."""
    file, _, name = spec.rpartition(":")
    if not Path(file).is_file():
        raise ConfigError(f"no Python file at {file} ({spec})")
    module_spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ConfigError(f"{file} defines no function {name!r}")
    return getattr(module, name)
