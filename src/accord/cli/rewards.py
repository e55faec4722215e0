"""Rewards as the command line names them: a saved model, a rule, or a function in a Python file."""

import importlib.util
import re
import traceback
from pathlib import Path
from typing import Any

from accord import rewards
from accord.cli.options import check_options
from accord.errors import ConfigError, ModelError
from accord.policies.placement import device_of
from accord.rewards import Reward

RULES = ("exact_answer", "json_call", "length_penalty", "matches", "numeric_answer")

RewardSpec = str | dict[str, Any]


def check_reward(spec: RewardSpec) -> None:
    """Refuse, before anything is loaded, what `open_reward` could not open."""
    if isinstance(spec, dict):
        _rules(spec)
    elif ".py:" in spec:
        open_function(spec)
    elif _in_package(spec):
        open_named(spec)
    else:
        _kind(Path(spec), spec)


def open_reward(spec: RewardSpec, device: str = "auto", dtype: str = "auto") -> Reward:
    """A reward of its specification.

    A folder saved by `accord reward train` (or any hub reward model), ``file.py:function``, ``package.module:name``, or
    rules by name with their options; several rules are added up.

    Raises:
        ModelError: it is a language model that has no reward head.
    """
    if isinstance(spec, dict):
        rules = _rules(spec)
        return next(iter(rules.values())) if len(rules) == 1 else rewards.combine(rules)
    if ".py:" in spec:
        return open_function(spec)
    if _in_package(spec):
        return open_named(spec)
    if _kind(Path(spec), spec) == "encoder":
        return rewards.EncoderReward.load(spec).to(device_of(device))
    made = rewards.BradleyTerry.load(spec, device=device, dtype=dtype)
    if not made.has_opinions:
        raise ModelError(f"{spec} is a language model without a reward head: train one on it with accord reward train")
    return made.requires_grad_(False)


def _rules(spec: dict[str, Any]) -> dict[str, Reward]:
    """Rules by name, made with their options."""
    if not spec:
        raise ConfigError(f"a reward without any rule; the rules are {', '.join(RULES)}")
    made = {}
    for name, options in spec.items():
        if name not in RULES:
            raise ConfigError(f"no rule called {name!r}; the rules are {', '.join(RULES)}")
        rule = getattr(rewards, name)
        made[name] = rule(**check_options([rule], {} if options is None else options, f"reward {name}"))
    return made


def _kind(path: Path, spec: str) -> str:
    if (path / "reward.json").is_file():
        return "encoder"
    from accord.policies.loading import resolve

    resolve(spec)
    return "classifier"


def _in_package(spec: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", spec) is not None


def open_named(spec: str) -> Any:
    """``package.module:name``: a function, or a class that is made without arguments."""
    module, _, name = spec.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        return found() if isinstance(found, type) else found
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"no reward at {spec}: {error}") from error


def open_function(spec: str) -> Any:
    """``file.py:function``."""
    file, _, name = spec.rpartition(":")
    if not Path(file).is_file():
        raise ConfigError(f"no Python file at {file} ({spec})")
    module_spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = getattr(error, "lineno", None) or _line_in(file, error)
        raise ConfigError(f"{file}{f', line {line}' if line else ''}: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, name, None)):
        raise ConfigError(f"{file} defines no function {name!r}")
    return getattr(module, name)


def _line_in(file: str, error: BaseException) -> int | None:
    """The last line of a file that was being run when an error came up."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return lines[-1] if lines else None
