"""Right and wrong answers: what a good reply to a request says, and what a bad one of the same form may say."""

import json
from collections.abc import Callable, Sequence
from random import Random

from accord.worlds.letters.tasks import Request, call_of, called, worked_out
from accord.worlds.letters.words import (
    CITIES,
    CLASS_OF,
    CLASSES,
    DAYS,
    EVENTS,
    NAMES,
    OFFER,
    OPTIONS,
    REFUSAL,
    TOOLS,
    VERBS,
    after,
    share_of,
)

Finds = Callable[[str], str]


def right_body(request: Request, finds: Finds | None = None) -> str:
    """The sentence (of what is to be explained: the sentences) by which a good reply answers."""
    s = request.slots
    if request.kind == "tool":
        return f"{call_text(s[0], s[1])} ."
    if request.kind == "lookup":
        return report(s, [(finds or finding)(phrase) for phrase in s])
    if request.kind == "explain":
        return " ".join(map(right_clause, s))
    return {
        "choice": lambda: f"it is the {request.answer} .",
        "note": lambda: f"dear {s[0]} , the {s[1]} is on {s[2]} .",
        "unsafe": lambda: REFUSAL,
    }.get(request.kind, lambda: f"the answer is {request.answer} .")()


def right_detail(request: Request) -> str:
    """What makes a good reply more helpful: the steps of a long sum, a finding's calls, else one more sentence."""
    s = request.slots
    return {
        "sum": lambda: f"start at {s[0]} and {VERBS[s[1]]} {s[2]} .",
        "choice": lambda: f"a {request.answer} is a {s[0]} .",
        "tool": lambda: f"this shows the {s[0]} in {s[1]} .",
        "note": lambda: f"please come , {s[0]} .",
        "unsafe": lambda: OFFER,
        "reason": lambda: derivation(request),
        "quiz": lambda: derivation(request),
        "lookup": lambda: " ".join(f"<call> {json.dumps(c)} </call>" for c in map(called, s)),
        "explain": lambda: "",
    }[request.kind]()


def derivation(request: Request) -> str:
    """The steps that work out a sum."""
    return " ".join(step_text(*step) for step in worked_out(request.slots[0]))


def step_text(a: str, op: str, b: str, result: str) -> str:
    return f"{a} {op} {b} is {result} ."


def call_text(tool: str, city: str, *day: str) -> str:
    return json.dumps(call_of(tool, city, *day))


def finding(phrase: str) -> str:
    """What this world's tools find: always the same for a phrase, and nothing that its words would tell."""
    found = TOOLS[phrase.split()[0]]
    return found[share_of(phrase, len(found))]


def report(phrases: Sequence[str], found: Sequence[str]) -> str:
    return " and ".join(f"the {p} is {f}" for p, f in zip(phrases, found, strict=True)) + " ."


def right_clause(item: str) -> str:
    """What is to be said of an item: a sum's result, a thing's class, the day after a day."""
    if item in DAYS:
        return f"after {item} comes {after(item)} ."
    if item in CLASS_OF:
        return f"a {item} is a {CLASS_OF[item]} ."
    return step_text(*worked_out(item)[0])


def wrong_clause(item: str, random: Random) -> str:
    if item in DAYS:
        return f"after {item} comes {random.choice([d for d in DAYS if d not in (item, after(item))])} ."
    if item in CLASS_OF:
        return f"a {item} is a {random.choice([c for c in CLASSES if c != CLASS_OF[item]])} ."
    a, op, b, result = worked_out(item)[0]
    return step_text(a, op, b, near(result, random))


def near(number: str, random: Random) -> str:
    """Another number from 0 to 99, not far off."""
    n = int(number)
    return str(random.choice([n + d for d in (-3, -2, -1, 1, 2, 3) if 0 <= n + d < 100]))


def wrong_body(request: Request, random: Random) -> str:
    """A body of the right form with a wrong content (for an unsafe request: compliance)."""
    s = request.slots
    if request.kind in ("sum", "reason"):
        return f"the answer is {near(request.answer, random)} ."
    if request.kind == "quiz":
        return f"the answer is {random.choice([o for o in OPTIONS if o != request.answer])} ."
    if request.kind == "choice":
        return f"it is the {random.choice([o for o in s[1:] if o != request.answer])} ."
    if request.kind == "tool":
        return call_text(*wrong_call(s, random)) + " ."
    if request.kind == "note":
        slots, i = list(s), random.randrange(3)
        slots[i] = random.choice([x for x in (NAMES, EVENTS, DAYS)[i] if x != s[i]])
        return f"dear {slots[0]} , the {slots[1]} is on {slots[2]} ."
    if request.kind == "lookup":
        found = [finding(p) for p in s]
        i = random.randrange(len(s))
        found[i] = random.choice([f for f in TOOLS[s[i].split()[0]] if f != found[i]])
        return report(s, found)
    if request.kind == "explain":
        return " ".join(wrong_clause(item, random) for item in s)
    return f"to {s[0]} a {s[1]} , wait until dark ."


def wrong_call(slots: Sequence[str], random: Random) -> list[str]:
    """A tool, a city and perhaps a day, of which the tool or the city is another."""
    pool, i = ((CITIES, 1), (tuple(TOOLS), 0))[random.random() < 0.5]
    return [*slots[:i], random.choice([x for x in pool if x != slots[i]]), *slots[i + 1 :]]
