"""Rewards as the command line names them: a saved model, a function in a Python file, one of the library's by name, or what is made of others."""

import importlib.util
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord import rewards
from accord.cli.columns import heeding
from accord.cli.makers import MAKERS, Base, Maker
from accord.errors import ConfigError, ModelError
from accord.rewards import References, Reward
from accord.rewards.combine import reward_of
from accord.rewards.reward import reward_columns
from accord.rewards.saved import INFO, Kept

RewardSpec = str | list[Any] | dict[str, Any]


def check_reward(spec: Any, *, based: bool = False) -> None:
    """Refuse, before anything is loaded, what `open_reward` could not open.

    Args:
        based: whether there is a policy whose answers a reward can be compared with.
    """
    spec = _named(spec)
    if isinstance(spec, dict):
        for maker, options in _makers(spec):
            for inner in maker.inner(options):
                check_reward(inner, based=based)
            maker.plain(options)
            if maker.answers(options) and not based:
                raise ConfigError(f"{maker.name} compares with answers of the policy that learns: it is for accord align, with a method that draws")  # fmt: skip
    elif isinstance(spec, list):
        for one in spec or [{}]:
            check_reward(one, based=based)
    elif _served(spec):
        return
    elif ".py:" in spec:
        open_function(spec)
    elif _in_package(spec):
        open_named(spec)
    else:
        _kind(Path(spec), spec)


def open_reward(spec: Any, device: str = "auto", dtype: str = "auto", base: Base | None = None) -> Reward:
    """A reward of its specification.

    A folder saved by `accord reward train` (or any hub reward model), ``file.py:function``, ``package.module:name``, the
    address of a server (`Served`); or what a `Maker` makes, by its name (with its options, among which rewards are such
    specifications again). Several, in a list or by their makers, are added up.

    Args:
        base: for rewards that are compared with a policy's answers.

    Raises:
        ModelError: it is a language model that has no reward head.
    """
    spec = _named(spec)
    if isinstance(spec, dict | list):

        def opened(inner: Any) -> Reward:
            return open_reward(inner, device, dtype, base)

        if isinstance(spec, list):
            found: Any = [opened(one) for one in spec]
        else:
            found = {
                maker.name: maker.make(options, opened, base, device=device, dtype=dtype)
                for maker, options in _makers(spec)
            }
        return next(iter(found if isinstance(found, list) else found.values())) if len(found) == 1 else reward_of(found)
    if _served(spec):
        return rewards.Served(spec)
    if ".py:" in spec:
        return heeding(open_function(spec), spec)
    if _in_package(spec):
        return heeding(open_named(spec), spec)
    if _kind(Path(spec), spec) is not rewards.BradleyTerry:
        return rewards.load(spec, device=device, dtype=dtype)
    model = rewards.BradleyTerry.load(spec, device=device, dtype=dtype)
    if not model.has_opinions:
        raise ModelError(f"{spec} is a language model without a reward head: train one on it with accord reward train")
    return model.requires_grad_(False)


def answers_of_base(policy: Any, records: Sequence[Any], sampling: Any, seed: int) -> Base:
    """How a reward comes by answers of a policy as it is now: some to every record's prompt, drawn and scored once."""

    def drawn(reward: Reward, n: int) -> References:
        drawing = policy.sampling_kind() if sampling is None else sampling
        prompts = [r.prompt for r in records]
        return References.sample(reward, policy, prompts, n, drawing, seed=seed, context=reward_columns(records))

    return drawn


def _named(spec: RewardSpec) -> RewardSpec:
    """A maker's name alone is one without options."""
    return {spec: {}} if isinstance(spec, str) and spec in MAKERS else spec


def _makers(spec: dict[str, Any]) -> list[tuple[Maker, dict[str, Any]]]:
    """Makers by name, with their options."""
    if not spec:
        raise ConfigError(f"a reward without any name; there are {', '.join(MAKERS)}")
    odd = next((name for name, options in spec.items() if not isinstance(options, dict | None)), None)
    if odd is not None:
        raise ConfigError(f"reward {odd} wants its options by name, but got {spec[odd]!r}")
    return [(Maker.find(name), options or {}) for name, options in spec.items()]


def _kind(path: Path, spec: str) -> type:
    """The class of what was saved there, or of a model of transformers that it must be."""
    if (path / INFO).is_file():
        return Kept(path).kind
    from accord.policies.loading import resolve

    resolve(spec)
    return rewards.BradleyTerry


def _served(spec: str) -> bool:
    return spec.startswith(("http://", "https://"))


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
