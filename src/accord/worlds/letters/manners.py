"""Manners: control tags and a system line in front of a request, which say how its reply should be."""

from accord.worlds.letters.words import ASPECTS

LEVELS = range(4)
"""How much of a quality a tag may ask for: none at 0, all at 3."""
_SYSTEM = {"brief": "concise", "polite": "polite", "helpful": "helpful", "honest": "sincere", "safe": "safe"}

MANNERS: dict[str, dict[str, int]] = {
    **{f"<{a}>": {a: 3} for a in ASPECTS},
    **{f"<{a}:{level}>": {a: level} for a in ASPECTS for level in LEVELS},
    "<better>": dict.fromkeys(ASPECTS, 3),
    "<worse>": dict.fromkeys(ASPECTS, 0),
    **{f"system : be {word} .": {a: 3} for word, a in _SYSTEM.items()},
}
"""Every manner and what it asks for; several may stand one after another."""


def split_manner(text: str) -> tuple[str, str]:
    """A text's manner, and the rest of it."""
    at = 0
    while found := next((m for m in MANNERS if text.startswith(f"{m} ", at)), None):
        at += len(found) + 1
    return text[:at].rstrip(), text[at:]


def wishes(manner: str) -> dict[str, int]:
    """Which aspect a manner wants at which level; what comes last counts."""
    asked: dict[str, int] = {}
    rest = f"{manner} "
    while found := next((m for m in MANNERS if rest.startswith(f"{m} ")), None):
        asked |= MANNERS[found]
        rest = rest[len(found) + 1 :]
    return asked
