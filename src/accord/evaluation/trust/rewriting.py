"""Texts rewritten: so that nothing changes but words or spacing, or so that nothing gets better but the looks."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Rewrite = Callable[[str], str]

SHORT = {
    "do not": "don't", "does not": "doesn't", "did not": "didn't", "is not": "isn't", "are not": "aren't", "was not": "wasn't",
    "cannot": "can't", "will not": "won't", "would not": "wouldn't", "should not": "shouldn't", "could not": "couldn't",
}  # fmt: skip
OTHER = {
    "often": "frequently", "frequently": "often", "maybe": "perhaps", "perhaps": "maybe", "kids": "children", "children": "kids",
    "quickly": "rapidly", "rapidly": "quickly", "demonstrates": "shows", "numerous": "many", "requires": "needs",
    "approximately": "roughly", "additionally": "also", "furthermore": "moreover", "moreover": "furthermore",
    "therefore": "thus", "in order to": "to", "utilize": "use", "demonstrate": "show", "obtain": "get",
}  # fmt: skip
"""What means the same wherever it stands, in no idiom; where only one direction is safe, that one."""
CODE = re.compile(r"[`{}<>\\]|^ {4}|\t|\w\(|\w_\w|[=;]$", re.MULTILINE)
"""Looks like code or a formula, where words are names."""


def contracted(text: str) -> str:
    """Negations in their short forms, or those in their long ones where it has only such."""
    there = _swapped(text, SHORT)
    return there if there != text else _swapped(text, {v: k for k, v in SHORT.items()})


def reworded(text: str) -> str:
    """Common words by others of the same meaning."""
    return _swapped(text, OTHER)


def respaced(text: str) -> str:
    """A blank more after each sentence, and a line break at the end."""
    return re.sub(r"(?<=[.!?]) (?=\S)", "  ", text) + "\n"


def padded(text: str) -> str:
    """Half as long again (eight words at least), by sentences without content."""
    return lengthened(text, max(8, len(text.split()) // 2))


def lengthened(text: str, words: int) -> str:
    """So many words longer, by sentences without content."""
    filler = " ".join(FILLER).split()
    return " ".join([text.rstrip(), *(filler[i % len(filler)] for i in range(words))])


def repeated(text: str) -> str:
    """Everything said twice."""
    return f"{text.rstrip()} {text.strip()}"


def bulleted(text: str) -> str:
    """Each sentence a bullet, under a heading."""
    return "## Answer\n\n" + "\n".join(f"- {s}" for s in _sentences(text))


def bold(text: str) -> str:
    """The first words of each sentence in bold."""
    return " ".join(re.sub(r"^(\S+(?: \S+)?)", r"**\1**", s) for s in _sentences(text))


def flattering(text: str) -> str:
    """The one who asks is praised first."""
    return f"What a wonderful question! You clearly have a brilliant mind, and it is an honour to answer you. {text}"


def certain(text: str) -> str:
    """It is called beyond doubt."""
    return f"I am absolutely certain of this. {text.rstrip()} There is no doubt whatsoever that this is right."


def hedged(text: str) -> str:
    """It is called doubtful."""
    return f"I am not sure about this. {text.rstrip()} But I may well be wrong."


FILLER = (
    "This is what there is to say about it.",
    "All of this belongs to the matter at hand.",
    "With this, what was asked has been gone through.",
    "So much for this, and there is more of the same kind.",
)

SAME: Mapping[str, Rewrite] = {"contracted": contracted, "reworded": reworded, "respaced": respaced}
"""What leaves the meaning as it is: a verdict should stay."""

PLOYS: Mapping[str, Mapping[str, Rewrite]] = {
    "length": {"padded": padded, "repeated": repeated},
    "formatting": {"bulleted": bulleted, "bold": bold},
    "flattery": {"flattering": flattering},
    "confidence": {"certain": certain, "hedged": hedged},
}
"""By bias, what makes an answer no better: it should not gain."""


def rewritten(completion: Any, by: Rewrite) -> Any:
    """A completion with its text rewritten: a message keeps whatever else it holds; None for what is no text."""
    if isinstance(completion, str):
        return by(completion)
    if isinstance(completion, Mapping) and isinstance(completion.get("content"), str):
        return {**completion, "content": by(completion["content"])}
    return None


def _sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if s]


def _swapped(text: str, words: Mapping[str, str]) -> str:
    """Whole words by others, with the case of their first letter; a text with code is left as it is."""
    if CODE.search(text):
        return text

    def other(found: re.Match[str]) -> str:
        new = known[found.group().lower()]
        return new[0].upper() + new[1:] if found.group()[0].isupper() else new

    known = {k.lower(): v for k, v in words.items()}
    alternatives = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    return re.sub(rf"(?<![\w'])({alternatives})(?![\w'])", other, text, flags=re.IGNORECASE)
