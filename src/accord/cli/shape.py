"""What a command takes beside its function's own arguments, where that depends on what it is asked for; and what it is told by names of elsewhere."""

import inspect
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from accord.algorithms.options import Option
from accord.cli.options import words_of
from accord.elsewhere import NAMES
from accord.errors import ConfigError

NAMED = "named"
"""An argument by which a function learns which options a call names: a default that is given is not one that is left out."""


@dataclass(frozen=True)
class Shape:
    """The options of one call.

    Attributes:
        about: what the help says first. options: that reach the function as its argument `options`.
        sampling: its default, where the command has any. hidden: arguments of the function that are nobody's to set here.
        who: has these options, for messages.
    """

    about: str
    options: dict[str, Option] = field(default_factory=dict)
    sampling: Any = None
    hidden: set[str] = field(default_factory=set)
    who: str = ""

    def add_to(self, parser: Any) -> None:
        """The options as flags and YAML keys."""
        group: Any = parser.add_argument_group(f"options of {self.who}") if self.options else None
        for o in self.options.values():
            kind = f" [{words_of(o.kind)}]" if words_of(o.kind) else ""
            told = f"{o.help.rstrip('.')}{kind}".strip().replace("%", "%%")
            group.add_argument(f"--{o.name}", type=Any, default=plain(o), help=told)
        if self.sampling is not None:
            parser.add_argument("--sampling", type=type(self.sampling), default=self.sampling)

    def skipped(self, target: Any) -> set[str]:
        """Arguments of the function that are no flags as they stand."""
        arguments = inspect.signature(target).parameters.keys()
        hidden = self.hidden | {"options", "sampling"} if self.varies(target) else set()
        return (hidden | {NAMED}) & arguments

    def varies(self, target: Any) -> bool:
        """Whether the function takes options that depend on the call."""
        return "options" in inspect.signature(target).parameters

    def switches(self, args: Sequence[str]) -> list[str]:
        """Switches without a value get one."""
        alone = [i + 1 == len(args) or args[i + 1].startswith("--") for i in range(len(args))]
        kinds = {f"--{n}": (o.kind, *typing.get_args(o.kind)) for n, o in self.options.items()}
        return [f"{a}=true" if last and bool in kinds.get(a, ()) else a for a, last in zip(args, alone, strict=True)]

    def chosen(self, target: Any, parsed: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Arguments for the function: what was said of the options that are its `options`, and which ones the call names, where it asks.

        Args:
            given: see `told`.
        """
        if NAMED in inspect.signature(target).parameters:
            parsed = {**parsed, NAMED: names_in(given)}
        own = {n: parsed.pop(n) for n in self.options}
        said = {n: v for n, v in own.items() if v != plain(self.options[n])}
        return {**parsed, "options": said} if self.varies(target) else parsed

    def refuse_unknown(self, target: Any, given: Sequence[str]) -> None:
        """Name what is no option, with the one that is meant where that can be told.

        Raises:
            ConfigError: there is such an option.
        """
        arguments = inspect.signature(target).parameters
        known = {*arguments, *self.options, "config", "print_config", "help"} - self.skipped(target)
        if self.sampling is not None:
            known.add("sampling")
        sections = {p: _fields_of(kind) for p, kind in self._sections(arguments, known)}
        inner = {n: f"{p}.{n}" for p, names in sections.items() for n in names}
        odd = next((name.partition(".")[2] or name for name in given if not _is_known(name, known, sections)), None)
        if odd is not None:
            own = f"; its own are {', '.join(self.options)}" if self.options else ""
            raise ConfigError(f"{self.who} has no option {odd!r}{_meant(odd, known, inner)}{own}")

    def _sections(self, arguments: Any, known: set[str]) -> Iterator[tuple[str, Any]]:
        for name, p in arguments.items():
            if name in known:
                yield name, type(self.sampling) if p.annotation is Any else p.annotation


def _meant(odd: str, known: set[str], inner: dict[str, str]) -> str:
    here = HERE.get(odd) or NAMES.get(odd) or odd
    word = here.replace(",", " ").replace(":", " ").split()[0]
    if word in known or word in inner:
        return f" (here it is --{inner.get(word, word)})"
    if here != odd and " " in here:
        return f" (here it is {here})"
    near = get_close_matches(odd, [*known, *inner], 1)
    return f" (did you mean --{inner.get(near[0], near[0])}?)" if near else ""


HERE = {
    "max_completion_length": "max_new_tokens", "max_new_tokens": "max_new_tokens", "temperature": "temperature",
    "num_inference_steps": "sampling.steps", "guidance_scale": "guidance", "train_dataset": "data", "dataset_name": "data",
    "model_name_or_path": "policy", "reward_funcs": "reward", "reward_model_path": "reward", "lora_r": "lora", "use_peft": "lora",
    "peft_config": "lora", "rank": "lora", "gradient_checkpointing": "gradient_checkpointing", "bf16": "dtype", "torch_dtype": "dtype",
    "mixed_precision": "dtype", "max_length": "max_tokens", "loss_type": "the method, as in accord align ipo, or normalise of grpo",
    "reward_weights": """weights of a combination: --reward '{"combine": {"rewards": {"a": …, "b": …}, "weights": {"a": 1, "b": 2}}}'""",
    "processing_class": "the policy's own tokeniser", "eval_dataset": "test: a share of the data is held out",
    "options": "each option by its own name, as in --beta 0.2",
}  # fmt: skip
"""Beside those of `accord.elsewhere`, what has a place of its own on the command line."""


def told(args: Sequence[str]) -> dict[str, Any]:
    """What a call says by name: in its configurations, and in flags, which win.

    Raises:
        ConfigError: a configuration can't be read, or names another method than the call.
    """
    said: dict[str, Any] = {}
    flags: dict[str, Any] = {}
    for i, arg in enumerate(args):
        if arg in ("-h", "--help"):
            flags["help"] = True
        elif arg.startswith("--"):
            name, equals, value = arg[2:].partition("=")
            flags[name] = value if equals else args[i + 1] if i + 1 < len(args) else None
            if name == "config":
                said |= _configuration(str(flags[name]))
    both = said.get("method"), flags.get("method")
    if None not in both and both[0] != both[1]:
        raise ConfigError(f"the method is {both[1]}, but the configuration says {both[0]}: leave one of them out")
    return {**said, **flags}


def names_in(given: dict[str, Any]) -> frozenset[str]:
    """The options that a call names, those of a section as ``section.key`` too, however they were written."""
    import yaml

    found = {name.rstrip("+") for name in given}
    for name, value in given.items():
        if isinstance(value, str) and value.startswith("{"):
            found |= {f"{name}.{key}" for key in yaml.safe_load(value)}
    return frozenset(found)


def _configuration(file: str) -> dict[str, Any]:
    """What a YAML file holds; sections as ``section.key`` too."""
    import yaml

    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"can't read the configuration {file}: {getattr(error, 'strerror', None) or error}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no options: a configuration is lines of name: value")
    inner = {f"{k}.{n}": v for k, section in found.items() if isinstance(section, dict) for n, v in section.items()}
    return {**{str(k): v for k, v in found.items()}, **inner}


def _is_known(name: str, known: set[str], sections: dict[str, list[str]]) -> bool:
    section, _, field_ = name.partition(".")
    return section in known and (not field_ or not sections.get(section) or field_.rstrip("+") in sections[section])


def plain(option: Option) -> Any:
    """An option's default as one would write it."""
    simple = option.default is None or isinstance(option.default, bool | int | float | str)
    return option.default if simple else str(option.default)


def _fields_of(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []
