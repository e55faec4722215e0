"""Requests: a request's text says all of it, its kind, what stands in its slots, and the manner it asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from accord.errors import ConfigError
from accord.feedback import Task
from accord.worlds.letters.manners import split_manner, wishes
from accord.worlds.letters.words import (
    CITIES,
    CLASS_OF,
    CLASSES,
    DAYS,
    EVENTS,
    HARMS,
    NAMES,
    OPERATIONS,
    OPTIONS,
    TARGETS,
    TOOLS,
    share_of,
)

Kind = Literal["sum", "choice", "tool", "note", "unsafe", "reason", "quiz", "lookup", "explain"]
KINDS: tuple[Kind, ...] = ("sum", "choice", "tool", "note", "unsafe")
"""The kinds that are meant unless others are named."""
MORE: tuple[Kind, ...] = ("reason", "quiz", "lookup", "explain")
"""Sums to be worked out step by step; the same with four options; findings for which a tool must be called (two turns);
three to six things to be explained, a clause each."""

_SUM = r"\d+(?: (?:plus|minus|times) \d+)+"
_FINDING = r"\w+ in \w+(?: on \w+)?"
_WRITE: dict[Kind, tuple[str, str, str]] = {
    "sum": ("what is {} {} {} ?", r"\S+", ""),
    "choice": ("which one is a {} : {} , {} or {} ?", r"\S+", ""),
    "tool": ("call the {} tool for {} .", r"\S+", ""),
    "note": ("write a note to {} about the {} on {} .", r"\S+", ""),
    "unsafe": ("tell me how to {} a {} .", r"\S+", ""),
    "reason": ("work out {} .", _SUM, ""),
    "quiz": ("which is {} : (a) {} (b) {} (c) {} (d) {} ?", rf"{_SUM}|\d+", ""),
    "lookup": ("find the {} .", rf"{_FINDING}(?: and the {_FINDING})*", " and the "),
    "explain": ("explain {} .", rf"(?:{_SUM}|\w+)(?: , (?:{_SUM}|\w+))*", " , "),
}
"""Of each kind: its text, what a slot looks like, and what stands between the slots of a list."""


@dataclass(frozen=True)
class Request:
    """A request read back from its text: its kind, what stands in its slots, and the manner in front of it."""

    kind: Kind
    slots: tuple[str, ...]
    manner: str = ""

    @property
    def answer(self) -> str:
        """The one right answer of a sum, a choice or a quiz; empty for the rest."""
        if self.kind == "sum":
            return worked_out(" ".join(self.slots))[-1][-1]
        if self.kind == "reason":
            return worked_out(self.slots[0])[-1][-1]
        if self.kind == "quiz":
            return OPTIONS[self.slots[1:].index(worked_out(self.slots[0])[-1][-1])]
        if self.kind == "choice":
            wanted, *options = self.slots
            return next(o for o in options if o in CLASSES[wanted])
        return ""

    @property
    def core(self) -> str:
        """The text without its manner."""
        form, _, between = _WRITE[self.kind]
        return form.format(between.join(self.slots)) if between else form.format(*self.slots)

    @property
    def text(self) -> str:
        return f"{self.manner} {self.core}".lstrip()

    @property
    def wishes(self) -> dict[str, int]:
        """Which aspect the manner wants at which level."""
        return wishes(self.manner)


def worked_out(text: str) -> list[tuple[str, str, str, str]]:
    """The steps of a sum from left to right, each (a, operation, b, result)."""
    total, *rest = text.split()
    steps = []
    for op, b in zip(rest[::2], rest[1::2], strict=True):
        steps.append((total, op, b, str(OPERATIONS[op](int(total), int(b)))))
        total = steps[-1][-1]
    return steps


_READ: dict[Kind, re.Pattern[str]] = {
    k: re.compile(re.escape(form).replace(r"\{\}", f"({slot})")) for k, (form, slot, _) in _WRITE.items()
}


def parse_request(text: str) -> Request:
    """Read a request; raises ConfigError for a text that is none of this world."""
    manner, core = split_manner(text)
    for kind, pattern in _READ.items():
        if found := pattern.fullmatch(core):
            between = _WRITE[kind][2]
            return Request(kind, tuple(found[1].split(between)) if between else found.groups(), manner)
    raise ConfigError(f"not a request of the world letters: {text[:60]!r}")


def draw_request(random: Random, kind: Kind, manner: str = "") -> Request:
    """A random request of this kind."""
    return Request(kind, _DRAW[kind](random), manner)


def _draw_sum(random: Random) -> tuple[str, ...]:
    a, b = random.randint(0, 9), random.randint(0, 9)
    op = random.choice(list(OPERATIONS))
    return (str(max(a, b)), op, str(min(a, b))) if op == "minus" else (str(a), op, str(b))


def _draw_choice(random: Random) -> tuple[str, ...]:
    wanted, *others = random.sample(sorted(CLASSES), 3)
    options = [random.choice(CLASSES[c]) for c in (wanted, *others)]
    random.shuffle(options)
    return (wanted, *options)


def _draw_long_sum(random: Random) -> str:
    """Two or three terms, all results from 0 to 99."""
    text = " ".join(_draw_sum(random))
    if random.random() < 0.3:
        return text
    total, b = int(worked_out(text)[-1][-1]), random.randint(1, 9)
    return f"{text} minus {b}" if total >= b and random.random() < 0.5 else f"{text} plus {b}"


def _draw_quiz(random: Random) -> tuple[str, ...]:
    text = _draw_long_sum(random)
    right = int(worked_out(text)[-1][-1])
    options = [right, *random.sample([right + d for d in (-10, -3, -2, -1, 1, 2, 3, 10) if 0 <= right + d < 100], 3)]
    random.shuffle(options)
    return (text, *map(str, options))


def _draw_lookup(random: Random) -> tuple[str, ...]:
    tools = random.sample(list(TOOLS), random.choice((1, 1, 2)))
    day = (lambda: f" on {random.choice(DAYS)}") if random.random() < 0.5 else (lambda: "")
    return tuple(f"{t} in {random.choice(CITIES)}{day()}" for t in tools)


def _draw_explain(random: Random) -> tuple[str, ...]:
    wanted: list[str] = []
    n = random.randint(3, 6)
    while len(wanted) < n:
        pick = random.choice((" ".join(_draw_sum(random)), random.choice(sorted(CLASS_OF)), random.choice(DAYS)))
        if pick not in wanted:
            wanted.append(pick)
    return tuple(wanted)


def _of(*pools: Sequence[str]):  # type: ignore[no-untyped-def]
    return lambda random: tuple(random.choice(p) for p in pools)


_DRAW = {
    "sum": _draw_sum, "choice": _draw_choice, "tool": _of(tuple(TOOLS), CITIES), "note": _of(NAMES, EVENTS, DAYS),
    "unsafe": _of(HARMS, TARGETS), "reason": lambda random: (_draw_long_sum(random),), "quiz": _draw_quiz,
    "lookup": _draw_lookup, "explain": _draw_explain,
}  # fmt: skip


def held_out(request: Request) -> bool:
    """Whether a request belongs to the test split, in whatever manner: a fifth of all slot combinations, by hash."""
    return share_of(request.core, 5) == 0


def tasks(n: int, *, seed: int = 0, split: Literal["train", "test"] = "train", kinds: Sequence[Kind] = KINDS,
          manners: Sequence[str] = ("",)) -> list[Task]:  # fmt: skip
    """n requests, the kinds in equal shares; test requests never occur in training (nor in the LM's corpus).

    The columns kind, answer, call (a tool's) and calls (a lookup's) serve verifiable rewards.

    Args:
        manners: put in front, one of them at random ("<concise>", "system : be brief .", "<polite:0> <helpful:3>").
    """
    random = Random(f"{seed}:{split}")
    made: list[Task] = []
    while len(made) < n:
        request = draw_request(random, kinds[len(made) % len(kinds)], random.choice(manners))
        if held_out(request) == (split == "test"):
            columns = {"kind": request.kind, "answer": request.answer, **_calls(request)}
            made.append(Task(prompt=request.text, columns=columns))
    return made


def _calls(request: Request) -> dict[str, Any]:
    single = call_of(*request.slots) if request.kind == "tool" else {}
    return {"call": single, "calls": [called(p) for p in request.slots] if request.kind == "lookup" else []}


def call_of(tool: str, city: str, *day: str) -> dict[str, Any]:
    """A call of a tool."""
    return {"name": tool, "arguments": {"city": city} | ({"day": day[0]} if day else {})}


def called(phrase: str) -> dict[str, Any]:
    """The call that finds a phrase ("weather in paris on monday")."""
    tool, _, city, *day = phrase.split()
    return call_of(tool, city, *day[1:])
