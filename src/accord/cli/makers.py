"""What makes a reward of options that a command line can write: rules, published networks, servers, and what is made of other rewards."""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from accord import rewards
from accord.algorithms.options import Option, options_of
from accord.cli.options import check_options, writable
from accord.errors import ConfigError
from accord.rewards import References, Reward

MAKERS = (
    "exact_answer", "json_call", "length_penalty", "matches", "numeric_answer",
    "CLIPScore", "PickScore", "HPSv2", "ImageReward", "SigLIP", "Aesthetics", "OCRAccuracy", "ObjectChecks", "vision_judge",
    "Framewise", "combine", "Ensemble", "par", "logsigmoid_centred", "standardise", "clip", "minmax", "ceil",
    "Served", "rated_by", "compared_by", "judged_by", "Anchored",
    "routed", "Hybrid", "ToolCalls", "BesideDemonstrations", "PrefixDifferences",
)  # fmt: skip
"""Their names in `accord.rewards`."""

ANSWERS = 4
"""Of the policy as it begins, to each prompt, where a reward is compared with them and the number isn't said."""

Base = Callable[[Reward, int], References]
"""Draws so many answers of a policy to every prompt, and scores them."""


@dataclass(frozen=True)
class Maker:
    """One of them. Among its options stand the specifications of rewards, and numbers of answers to compare with."""

    name: str

    @classmethod
    def find(cls, name: str) -> "Maker":
        if name not in MAKERS:
            raise ConfigError(
                f"no rule called {name!r}, nor anything that makes a reward; there are {', '.join(MAKERS)}"
            )
        return cls(name)

    @property
    def made(self) -> Any:
        return getattr(rewards, self.name)

    @cached_property
    def options(self) -> dict[str, Option]:
        return options_of(self.made)

    @cached_property
    def holders(self) -> dict[str, Any]:
        """Arguments that hold rewards, with `Sequence` or `Mapping` where they hold several."""
        return _of_kind(Reward, self.options)

    @cached_property
    def compared(self) -> tuple[str, Any] | None:
        """The argument that takes a policy's scored answers (in a `Mapping` of one for each reward), if it has one."""
        return next(iter(_of_kind(References, self.options).items()), None)

    @property
    def flags(self) -> dict[str, Option]:
        """Its other options, those that a command line can write."""
        hidden = {*self.holders, *(() if self.compared is None else self.compared[:1])}
        return {n: o for n, o in self.options.items() if n not in hidden and writable(o.kind)}

    def inner(self, options: dict[str, Any]) -> list[Any]:
        """The specifications that its options hold.

        Raises:
            ConfigError: one is missing or has not the shape that is wanted.
        """
        found: list[Any] = []
        for key, several in self.holders.items():
            value = options.get(key)
            if value is None and not self.options[key].needed:
                continue
            shape = {Mapping: dict, Sequence: list}.get(several)
            if not value or (shape is not None and not isinstance(value, shape)):
                wanted = {Mapping: "rewards by name", Sequence: "a list of rewards"}.get(several, "a reward")
                raise ConfigError(f"reward {self.name}: option {key!r} wants {wanted}, but is {value!r}")
            found += [value] if shape is None else value if shape is list else value.values()
        return found

    def plain(self, options: dict[str, Any]) -> dict[str, Any]:
        """Its other options, checked."""
        hidden = {*self.holders, *(self.compared or ())[:1]}
        rest = {k: v for k, v in options.items() if k not in hidden}
        return check_options([self.made], rest, f"reward {self.name}", hidden=hidden)

    def answers(self, options: dict[str, Any]) -> int:
        """How many answers of the policy to draw to each prompt; 0 where nothing is compared with them."""
        if self.compared is None:
            return 0
        key = self.compared[0]
        n = options.get(key, ANSWERS if self.options[key].needed else 0)
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ConfigError(
                f"reward {self.name}: option {key!r} wants a number of answers to each prompt, but is {n!r}"
            )
        return n

    def make(self, options: dict[str, Any], opened: Callable[[Any], Reward], base: Base | None, **place: str) -> Reward:
        """The reward; rewards within are opened, answers drawn. What has a place (device, dtype) and isn't told takes this one."""
        held: dict[str, Any] = {}
        for key, several in self.holders.items():
            value = options.get(key)
            if value is None:
                continue
            if several is Mapping:
                held[key] = {name: opened(spec) for name, spec in value.items()}
            else:
                held[key] = [opened(spec) for spec in value] if several is Sequence else opened(value)
        n = self.answers(options)
        if n and self.compared and base is not None:
            key, several = self.compared
            first = next(iter(held.values()))
            held[key] = {name: base(r, n) for name, r in first.items()} if several is Mapping else base(first, n)
        here = {name: v for name, v in place.items() if name in self.options and name not in options}
        return self.made(**here, **held, **self.plain(options))


def _of_kind(kind: Any, options: Mapping[str, Option]) -> dict[str, Any]:
    """Options of this kind, or of several in a sequence or mapping, whose kind is told."""
    found: dict[str, Any] = {}
    for name, option in options.items():
        for hint in (option.kind, *typing.get_args(option.kind)):
            if hint is kind:
                found[name] = typing.get_origin(option.kind)
            elif kind in typing.get_args(hint):
                found[name] = typing.get_origin(hint)
    return found
