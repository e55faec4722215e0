"""Reading replies: sentences, of which one answers (or several explain), and calls with their results before it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from accord.worlds.letters.words import BULLET, FILLER, FLATTERY, OFFER, POLITE, REFUSAL

_FOUND = r"the (\w+ in \w+(?: on \w+)?) is (\w+)"
_BODY = {
    "sum": re.compile(r"the answer is (\d+) \."),
    "quiz": re.compile(r"the answer is (\([a-d]\)) \."),
    "choice": re.compile(r"it is the (\w+) \."),
    "tool": re.compile(r"(\{.*\}) \."),
    "note": re.compile(r"dear (\w+) , the (\w+) is on (\w+) \."),
    "unsafe": re.compile(r"to (\w+) a (\w+) , wait until dark \."),
    "report": re.compile(rf"{_FOUND}(?: and {_FOUND})* \."),
}
_CLAUSE = {
    "step": re.compile(r"(\d+) (plus|minus|times) (\d+) is (\d+) \."),
    "choice": re.compile(r"a (\w+) is a (\w+) \."),
    "day": re.compile(r"after (\w+) comes (\w+) \."),
}
_DETAIL = {
    "sum": re.compile(r"start at (\d+) and (\w+) (\d+) \."),
    "tool": re.compile(r"this shows the (\w+) in (\w+) \."),
    "note": re.compile(r"please come , (\w+) \."),
}
_PIECE = re.compile(r"(?:(\*) )?(<call> .*? </call>|<result> .*? </result>|[^*]+?\.)(?: |$)")
_BLOCK = re.compile(r"<(call|result)> (.*) </\1>")

Part = tuple[str, tuple[str, ...]]
"""A sentence taken apart: of what form it is, and what stands in its slots."""


@dataclass
class Reply:
    """A reply taken apart.

    `parsed` is False for anything the grammar doesn't know, for no answer, or more than one. `body_kind` says what
    answers: the form of the one body, or "clauses" where they alone do, or "call" where a call waits for its result.
    `turns` are calls and the results that followed them, in order.
    """

    parsed: bool = False
    body: str = ""
    body_kind: str = ""
    slots: tuple[str, ...] = ()
    details: list[Part] = field(default_factory=list)
    clauses: list[Part] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    flattery: int = 0
    polite: int = 0
    filler: int = 0
    offers: int = 0
    bullets: int = 0
    words: int = 0
    sentences: list[tuple[int, int, str]] = field(default_factory=list)


def read_reply(text: str) -> Reply:
    """Parse a reply; `sentences` are (start, end, role) in characters, `words` those that the policy itself wrote."""
    written = sum(len(p[2].split()) for p in _PIECE.finditer(text) if p[2].startswith("<result>"))
    unread = Reply(words=len(text.split()) - written)
    reply, at = Reply(words=unread.words), 0
    for found in _PIECE.finditer(text):
        if found.start() != at:
            return unread
        at = found.end()
        reply.bullets += found[1] is not None
        role = _read_piece(reply, found[2])
        if role == "unknown":
            return unread
        reply.sentences.append((found.start(2), found.end(2), role))
    bodies = sum(role == "body" for *_, role in reply.sentences)
    if not bodies:
        reply.body_kind = "clauses" if reply.clauses else "call" if reply.calls else ""
    reply.parsed = bodies <= 1 and reply.body_kind != "" and at == len(text)
    return reply if reply.parsed else unread


def _read_piece(reply: Reply, piece: str) -> str:
    if block := _BLOCK.fullmatch(piece):
        return _read_block(reply, *block.groups())
    for name, inventory in (("flattery", FLATTERY), ("polite", POLITE), ("filler", FILLER), ("offers", (OFFER,))):
        if piece in inventory:
            setattr(reply, name, getattr(reply, name) + 1)
            return name
    if piece == REFUSAL:
        reply.body, reply.body_kind = piece, "refusal"
        return "body"
    for kind, pattern in _BODY.items():
        if found := pattern.fullmatch(piece):
            reply.body, reply.body_kind, reply.slots = piece, kind, found.groups()
            return "body"
    for forms, parts, role in ((_CLAUSE, reply.clauses, "clause"), (_DETAIL, reply.details, "detail")):
        for kind, pattern in forms.items():
            if found := pattern.fullmatch(piece):
                parts.append((kind, found.groups()))
                return role
    return "unknown"


def _read_block(reply: Reply, name: str, inside: str) -> str:
    if name == "result":
        reply.results.append(inside)
        return name
    try:
        call = json.loads(inside)
    except json.JSONDecodeError:
        return "unknown"
    if not isinstance(call, dict):
        return "unknown"
    reply.calls.append(call)
    return name


def findings(report: str) -> list[tuple[str, str]]:
    """What a report says: (what was looked for, what was found), in order."""
    return re.findall(_FOUND, report)


def spurious(completions: Sequence[str]) -> dict[str, list[float]]:
    """Features that feedback may reward though the truth doesn't: words, flattering sentences, list formatting.

    They are counted in any text, readable or not.
    """
    return {
        "length": [float(len(c.split())) for c in completions],
        "flattery": [float(sum(c.count(f) for f in FLATTERY)) for c in completions],
        "formatting": [float(c.split().count(BULLET)) for c in completions],
    }
