"""The methods that train a policy, as their classes describe themselves: what each learns from, needs and can be told."""

import contextlib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn
from typing_extensions import get_protocol_members, is_protocol

from accord.algorithms.options import Option, options_of
from accord.catalogue import Method, find, methods
from accord.cli.intake import Verdict, answers_of, no_preference
from accord.cli.makers import Maker
from accord.cli.options import check_options, writable
from accord.engine import Learner
from accord.errors import ConfigError, ModelError
from accord.feedback import Comparison, Example, Ranking, Record
from accord.policies import ControlPolicy, LanguagePolicy, Policy, capabilities
from accord.policies.control import Acts
from accord.rewards import Reward


@dataclass(frozen=True)
class Trainer:
    """A method of the catalogue that trains a policy.

    Attributes:
        name: in the catalogue. made: the class that trains by it.
        shape: what it makes of the reward that such a class gets, where that is all of it.
    """

    name: str
    made: Any
    shape: Maker | None = None

    @classmethod
    def find(cls, name: str) -> "Trainer":
        """Raises ConfigError where nothing here is called that, or it trains nothing."""
        method = find(name)
        made = method.load()
        if method.by is not None:
            return cls(method.name, find(method.by).load(), Maker.find(made.__name__))
        if not _trains(made):
            raise ConfigError(f"{method.name} trains no policy: it is {method.what or method.title}; these do: {', '.join(names())}")  # fmt: skip
        return cls(method.name, made)

    @cached_property
    def _all(self) -> dict[str, Option]:
        return options_of(self.made)

    @cached_property
    def _for_rows(self) -> dict[str, Option]:
        """What it takes to make its rows of records, where those come from no file."""
        return options_of(self.made.rows_from) if hasattr(self.made, "rows_from") else {}

    @property
    def about(self) -> str:
        """Its docstring, but for what is said of arguments."""
        whole = self.made if self.shape is None else self.shape.made
        by = "" if self.shape is None else f" Trains by {self.made.__name__}."
        return " ".join(inspect.cleandoc(whole.__doc__ or "").partition("\nArgs:")[0].split()) + by

    @property
    def rewards(self) -> dict[str, Option]:
        """Arguments that want a reward. The first is the one that is meant where there is one alone."""
        return {n: o for n, o in (self._all | self._for_rows).items() if _may_be(Reward, o.kind)}

    @property
    def policies(self) -> list[str]:
        """Further arguments that take a policy, which a call names."""
        return [n for n, o in self._all.items() if _may_be(Policy, o.kind)]

    @property
    def options(self) -> dict[str, Option]:
        """Its own options, those that a command line or a configuration can write."""
        hidden = {"policy", "sampling", *self.rewards}
        found = {n: o for n, o in self._all.items() if n not in hidden and writable(o.kind)}
        return found if self.shape is None else {**self.shape.flags, **found}

    @property
    def draws(self) -> bool:
        """Whether it draws completions itself."""
        return "sampling" in self._all

    @property
    def samples(self) -> bool:
        """Whether that, or making its rows, has settings of drawing."""
        return "sampling" in self._all | self._for_rows

    @property
    def learns(self) -> tuple[type[Record], ...]:
        """The kinds of records that it can use; of any kind, one that draws uses the prompt.

        Raises:
            ConfigError: what it learns from comes from no file.
        """
        rows = (Example,) if self._for_rows else self.made.rows or (Example, Record)
        kinds = tuple(r for r in rows if issubclass(r, Record))
        if not kinds:
            made = ", ".join(r.__name__ for r in rows)
            raise ConfigError(
                f"{self.name} learns from {made}, which no file holds: use {self.made.__name__} in Python"
            )
        return (*kinds, Ranking) if self.paired and getattr(self.made, "rankings", True) else kinds

    @property
    def paired(self) -> bool:
        """Whether it learns from comparisons alone, to which rankings can be taken apart."""
        return self.made.rows == (Comparison,)

    @property
    def unfit(self) -> list[Verdict]:
        """Which records teach it nothing, as it says itself."""
        own = [self.made.unfit] if hasattr(self.made, "unfit") else []
        return [*([no_preference] if self.paired else []), *own]

    def answers(self, record: Any) -> Sequence[Any]:
        """Those answers of a record that it asks its policy about."""
        if isinstance(record, Ranking) or self._for_rows or not hasattr(self.made, "group"):
            return answers_of(record)
        return self.made.group(None, record).completions

    def default_sampling(self, kind: Any) -> Any:
        """How this class of policies draws for it, unless told otherwise."""
        if not hasattr(self.made, "default_sampling"):
            return kind.sampling_kind()
        unmade = self.made.__new__(self.made)
        object.__setattr__(unmade, "policy", kind)
        return unmade.default_sampling()

    @property
    def needs(self) -> str:
        """What it learns from, and what it needs of a policy, in words."""
        kinds = " or ".join(f"{k.__name__.lower()}s" for k in self.learns if k is not Record) or "prompts"
        can = (self._all["policy"].kind.__doc__ or "").strip()
        return f"Learns from {kinds}; wants a policy that {can}."

    def check_policy(self, kind: type) -> None:
        """Refuse a class of policies that can't do what it needs."""
        capabilities.check(kind, self._all["policy"].kind, self.name)

    def check(self, kind: type, options: dict[str, Any], rewards: Mapping[str, Any], sampling: Any) -> dict[str, Any]:
        """The method's options, checked before anything is loaded.

        Args:
            kind: of policies. rewards: by argument, those that were asked for.

        Raises:
            ConfigError: the policy can't do what is needed; a reward is missing; an option is refused by its name, kind or value.
        """
        self.check_policy(kind)
        missing = next((n for n, o in self.rewards.items() if o.needed and n not in rewards), None)
        if missing is not None:
            raise ConfigError(f"{self.name} wants a reward: a saved model, file.py:function, package.module:name, or a rule (--reward)")  # fmt: skip
        own, options = self.divided(options)
        if self.shape is not None:
            self.shape.plain(own)
        hidden = self._all.keys() - self.options.keys()
        checked = check_options([self.made], options, self.name, hidden=hidden)
        with contextlib.suppress(_Reached):
            self.make(_absent(kind), dict.fromkeys(rewards, _no_opinion), checked, sampling)
        return checked

    def divided(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of what it makes of its reward, and the others."""
        own = {} if self.shape is None else self.shape.flags
        return {n: v for n, v in options.items() if n in own}, {n: v for n, v in options.items() if n not in own}

    @property
    def takes_reward(self) -> bool:
        """Whether a call names a reward; not, where the method's own needs no other."""
        return bool(self.rewards if self.shape is None else self.shape.holders)

    def shaped(self, spec: Any, options: dict[str, Any]) -> Any:
        """The specification of its reward: what it makes of the one that is given, if it needs one."""
        if self.shape is None:
            return spec
        own = self.divided(options)[0]
        if not self.shape.holders:
            return {self.shape.name: own}
        key, several = next(iter(self.shape.holders.items()))
        held = spec if several is None or isinstance(spec, list) else [spec]
        return None if spec is None else {self.shape.name: {key: held, **own}}

    def make(self, policy: Any, rewards: Mapping[str, Any], options: dict[str, Any], sampling: Any) -> Any:
        """The algorithm that trains this policy."""
        mine = {n: r for n, r in rewards.items() if n in self._all}
        return self.made(policy, **mine, **options, **({"sampling": sampling} if self.draws else {}))

    def rows(
        self, policy: Any, records: Sequence[Any], rewards: Mapping[str, Any], sampling: Any, seed: int
    ) -> list[Any]:
        """What it trains on, made of records that it learns from; but for pairs, see `Intake.pairs`."""
        if not self._for_rows:
            return list(records)
        theirs = {n: r for n, r in rewards.items() if n in self._for_rows}
        return self.made.rows_from(policy, records, **theirs, sampling=sampling, seed=seed)


def names() -> list[str]:
    """Of all methods that train a policy."""
    return [m.name for m in trainers()]


def trainers() -> Iterator[Method]:
    """Their rows of the catalogue; without those that want a package which isn't there."""
    for m in methods():
        with contextlib.suppress(ImportError, ModelError):
            if m.by is not None or (m.entry and _trains(m.load())):
                yield m


def _may_be(kind: Any, hint: Any) -> bool:
    """Whether an annotation is this kind, or a union with it."""
    return hint is kind or (
        typing.get_origin(hint) in (typing.Union, types.UnionType) and kind in typing.get_args(hint)
    )


def _trains(made: Any) -> bool:
    return isinstance(made, type) and issubclass(made, Learner) and "policy" in inspect.signature(made).parameters


def kind_for(method: Trainer) -> type:
    """A class of policies that a method is for, where none is named yet: by the catalogue, of words, of pictures or of acts."""
    modality = find(method.name).modality
    if "text" in modality or modality == ("control",):
        return LanguagePolicy if "text" in modality else ControlPolicy
    from accord.policies.diffusion import DiffusionPolicy

    return DiffusionPolicy


class _Reached(Exception):
    """An algorithm has accepted its options and turns to the policy."""


def _absent(kind: type) -> Any:
    """Stands for a policy that isn't loaded yet, so that an algorithm's own checks of its options come before that."""

    def reached(self: Any, *arguments: Any, **named: Any) -> Any:
        raise _Reached

    wanted = {n for c in (*vars(capabilities).values(), Acts) if is_protocol(c) for n in get_protocol_members(c)}
    here = {n for n in wanted if hasattr(kind, n)} - {"sampling_kind"}
    unmade: Any = type(kind.__name__, (kind,), dict.fromkeys([*here, "__deepcopy__"], reached))
    made = unmade.__new__(unmade)
    nn.Module.__init__(made)
    return made


def _no_opinion(**samples: Any) -> list[None]:
    return [None] * len(samples["prompts"])
