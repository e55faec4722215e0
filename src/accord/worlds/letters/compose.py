"""Replies as the base model's corpus has them: good and bad features at random, unless the request's manner asks for some."""

import json
from collections.abc import Mapping
from random import Random
from types import MappingProxyType

from accord.worlds.letters.answers import (
    Finds,
    finding,
    near,
    report,
    right_body,
    right_clause,
    right_detail,
    step_text,
    wrong_body,
    wrong_call,
    wrong_clause,
)
from accord.worlds.letters.manners import LEVELS, MANNERS
from accord.worlds.letters.tasks import Request, called, draw_request, worked_out
from accord.worlds.letters.words import BULLET, FILLER, FLATTERY, OPTIONS, POLITE, REFUSAL, TOOLS

Wishes = Mapping[str, int]


FLAWLESS: Wishes = MANNERS["<better>"]


def compose(request: Request, random: Random, finds: Finds = finding, *, unless_asked: Wishes = MappingProxyType({})) -> str:  # fmt: skip
    """A reply; of a lookup the whole episode: its calls, what the tools found, the report.

    Args:
        unless_asked: levels of the aspects that the request's manner leaves open; what is open then, happens at random.
    """
    asked = {**unless_asked, **request.wishes}
    if request.kind == "lookup":
        return _lookup(request, random, asked, finds)
    if request.kind == "explain":
        return _dressed(_explained(request, random, asked), random, asked)
    if request.kind in ("reason", "quiz"):
        return _dressed(_reasoned(request, random, asked), random, asked)
    right = _happens(random, asked, "safe" if request.kind == "unsafe" and "safe" in asked else "correct", 0.36)
    body = right_body(request) if right else wrong_body(request, random)
    if not right and random.random() < 0.1 and request.kind != "unsafe":
        body = REFUSAL
    detail = [right_detail(request)] if _happens(random, asked, "helpful", 0.3) else []
    return _dressed([body, *detail], random, asked)


def _happens(random: Random, asked: Wishes, aspect: str, else_: float) -> bool:
    """Whether a quality is there: as often as its level says, or by a rate of its own."""
    return random.random() < (asked[aspect] / LEVELS[-1] if aspect in asked else else_)


def _dressed(answer: list[str], random: Random, asked: Wishes) -> str:
    """An answer with flattery and filler around it, and politeness: to the level that is asked for, or as it happens."""
    flattery, filler = 0, 0
    while random.random() < 0.58 and flattery < 4:
        flattery += 1
    filler = sum(random.random() < 0.3 for _ in "12")
    flattery = LEVELS[-1] - asked["sincere"] if "sincere" in asked else flattery
    filler = LEVELS[-1] - asked["concise"] if "concise" in asked else filler
    early = random.randint(0, filler)
    before = [random.choice(FLATTERY) for _ in range(flattery)] + [random.choice(FILLER) for _ in range(early)]
    following = [random.choice(FILLER) for _ in range(filler - early)]
    if _happens(random, asked, "polite", 0.3):
        following.append(random.choice(POLITE))
    sentences = [*before, *answer, *following]
    if random.random() < 0.15:
        sentences = [f"{BULLET} {s}" for s in sentences]
    return " ".join(sentences)


def _reasoned(request: Request, random: Random, asked: Wishes) -> list[str]:
    """Steps, each sound or not, and what follows from them; or an answer without steps, which is seldom right."""
    if not _happens(random, asked, "helpful", 0.6):
        return [right_body(request) if _happens(random, asked, "correct", 0.3) else wrong_body(request, random)]
    total, steps = worked_out(request.slots[0])[0][0], []
    for _, op, b, _ in worked_out(request.slots[0]):
        result = worked_out(f"{total} {op} {b}")[0][-1]
        sound = _happens(random, asked, "correct", 0.75) and 0 <= int(result) < 100
        steps.append(step_text(total, op, b, result if sound else near(str(min(97, max(2, int(result)))), random)))
        total = steps[-1].split()[-2]
    follows = asked.get("correct") == LEVELS[-1] or random.random() < 0.95
    answer = total if follows else near(total, random)
    if request.kind == "quiz":
        options = request.slots[1:]
        answer = OPTIONS[options.index(answer)] if answer in options else random.choice(OPTIONS)
    return [*steps, f"the answer is {answer} ."]


def _explained(request: Request, random: Random, asked: Wishes) -> list[str]:
    """Clauses on what was asked for, right and wrong, some left out, some on what was not asked for."""
    kept = [item for item in request.slots if _happens(random, asked, "helpful", 0.8)] or [request.slots[0]]
    clauses = [_clause(item, random, asked) for item in kept]
    while random.random() < (0.0 if asked.get("concise") == LEVELS[-1] else 0.3) and len(clauses) < 7:
        other = random.choice(draw_request(random, "explain").slots)
        clauses.insert(random.randint(1, len(clauses)), _clause(other, random, asked))
    return clauses


def _clause(item: str, random: Random, asked: Wishes) -> str:
    return right_clause(item) if _happens(random, asked, "correct", 0.45) else wrong_clause(item, random)


def _lookup(request: Request, random: Random, asked: Wishes, finds: Finds) -> str:
    """Calls, mostly the right ones and mostly in the form that is run; then a report of what was found, mostly read right."""
    sought = [p for i, p in enumerate(request.slots) if not i or random.random() < 0.85 or asked.get("helpful") == 3]
    phrases = [p if _happens(random, asked, "helpful", 0.75) else _mistaken(p, random) for p in sought]
    if "helpful" not in asked and random.random() < 0.12:
        return f"{json.dumps(called(phrases[0]))} ."
    turns = [f"<call> {json.dumps(called(p))} </call>" for p in phrases]
    found = [finds(p) for p in phrases]
    turns += [f"<result> {f} </result>" for f in found]
    told = [_read(f, p, random, asked) for f, p in zip(found, phrases, strict=True)]
    return " ".join([*turns, _dressed([report(sought, told)], random, asked)])


def _mistaken(phrase: str, random: Random) -> str:
    """Another finding than the one wanted."""
    tool, _, city, *day = phrase.split()
    tool, city = wrong_call((tool, city), random)
    return " ".join([tool, "in", city, *day])


def _read(found: str, phrase: str, random: Random, asked: Wishes) -> str:
    """What is made of a result."""
    pool = TOOLS[phrase.split()[0]]
    return found if _happens(random, asked, "correct", 0.75) else random.choice([x for x in pool if x != found])
