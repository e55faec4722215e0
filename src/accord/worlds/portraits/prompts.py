"""Prompts in plain English for portraits: composed from wishes about attributes, and read back exactly.

A wish allows some values of an attribute: "wearing a hat" any colour, "without glasses" only none. What a prompt does not
mention is free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from jaxtyping import Bool
from torch import Tensor, ones, tensor
from torch import bool as boolean

from accord.errors import ConfigError
from accord.worlds.portraits.people import ATTRIBUTES, HELD_OUT, People

SUBJECTS = ("person", "somebody", "portrait of a person", "picture of a person", "face")


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


PHRASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "expression": {
        "neutral": ("with a neutral expression", "looking calm"),
        "smiling": ("smiling", "with a smile", "looking happy"),
        "sad": ("looking sad", "with a sad face", "frowning"),
        "surprised": ("looking surprised", "with an open mouth", "with a surprised face"),
        "not smiling": ("not smiling", "without a smile"),
    },
    "glasses": {
        "none": ("without glasses", "with no glasses"),
        "glasses": ("wearing clear glasses", "with clear glasses"),
        "sunglasses": ("wearing sunglasses", "with dark glasses", "in sunglasses"),
    },
    "hat": {
        "none": ("without a hat", "with no hat", "bareheaded"),
        **{c: (f"wearing a {c} hat", f"in a {c} hat", f"with a {c} hat") for c in ATTRIBUTES["hat"][1:]},
        "not none": ("wearing a hat", "with a hat"),
    },
    "background": {
        c: (f"on {_a(c)} background", f"in front of {_a(c)} wall", f"against {_a(c)} background")
        for c in ATTRIBUTES["background"]
    },
    "clothes": {
        c: (f"in a {c} shirt", f"wearing a {c} shirt", f"dressed in {c}") for c in ATTRIBUTES["clothes"]
    },
    "pose": {
        "front": ("facing the camera", "seen from the front"),
        "left": ("turned to the left", "looking left"),
        "right": ("turned to the right", "looking right"),
    },
}  # fmt: skip
"""For each attribute its values (``not v``: any other) and their paraphrases. No phrase begins another one."""

_READ = {phrase: (a, value) for a, values in PHRASES.items() for value, said in values.items() for phrase in said}


@dataclass(frozen=True)
class Wish:
    """One attribute and the values that a prompt allows it."""

    attribute: str
    value: str

    @property
    def allowed(self) -> tuple[str, ...]:
        values = ATTRIBUTES[self.attribute]
        other = self.value.removeprefix("not ")
        return values if other not in values else tuple(v for v in values if (v == other) == (other == self.value))


def write_prompt(wishes: Sequence[Wish], random: Random, subject: str | None = None) -> str:
    """A prompt that asks for these wishes, in the given order, in one of many wordings."""
    who = subject or random.choice(SUBJECTS)
    said = [random.choice(PHRASES[w.attribute][w.value]) for w in wishes]
    article = "" if who == "somebody" else "a "
    return ", ".join([f"{article}{who}", *said])


def read_prompt(prompt: str) -> list[Wish]:
    """The wishes of a prompt, written by `write_prompt` or a person in its phrases; the subject may be anything.

    Raises:
        ConfigError: a phrase after the first comma is none of `PHRASES`.
    """
    wishes = []
    for phrase in [p.strip().lower().rstrip(".") for p in prompt.split(",")[1:]]:
        if phrase not in _READ:
            raise ConfigError(
                f"portraits don't know the phrase {phrase!r} in {prompt!r}: see accord.worlds.portraits.PHRASES"
            )
        wishes.append(Wish(*_READ[phrase]))
    return wishes


def describe(people: People, seed: int, *, mention: float = 0.6, subject: str | None = None) -> list[str]:
    """A true prompt for each portrait; each attribute is mentioned with this probability."""
    prompts = []
    for i in range(len(people)):
        random = Random(f"describe:{seed}:{i}")
        wishes = []
        for a, values in ATTRIBUTES.items():
            if random.random() < mention:
                value = values[int(people.attributes[a][i])]
                looser = [v for v in PHRASES[a] if v.startswith("not ") and v != f"not {value}"]
                wishes.append(Wish(a, random.choice(looser) if looser and random.random() < 0.15 else value))
        random.shuffle(wishes)
        prompts.append(write_prompt(wishes, random, subject))
    return prompts


def prompts(n: int, seed: int, *, wishes: tuple[int, int] = (2, 4), held_out: bool = False,
            without: Sequence[str] = ()) -> list[str]:  # fmt: skip
    """n prompts, each with a number of wishes in this range.

    Args:
        without: attributes that none of them mentions (unless a held-out combination does).
        held_out: each asks for a combination of `HELD_OUT` (else none does).
    """
    low, high = wishes
    mentioned = sorted(set(ATTRIBUTES) - set(without))
    if not 0 <= low <= high <= len(mentioned):
        raise ConfigError(f"wishes is a range within 0 to {len(mentioned)}, but is {wishes}")
    out = []
    for i in range(n):
        random = Random(f"prompts:{seed}:{i}:{held_out}")
        while True:
            asked = {a: random.choice(tuple(PHRASES[a])) for a in random.sample(mentioned, random.randint(low, high))}
            if held_out:
                asked |= random.choice(HELD_OUT)
            if held_out or not any(all(asked.get(a) == v for a, v in c.items()) for c in HELD_OUT):
                break
        chosen = [Wish(a, v) for a, v in asked.items()]
        random.shuffle(chosen)
        out.append(write_prompt(chosen, random))
    return out


def fulfilled(
    prompts: Sequence[str], attributes: Mapping[str, Tensor]
) -> tuple[Bool[Tensor, "n w"], Bool[Tensor, "n w"]]:
    """Which wishes of each prompt these attributes fulfil, and which of the columns are wishes at all.

    Args:
        attributes: for each attribute the index of its value, [n].
    """
    rows = [read_prompt(p) for p in prompts]
    width = max(map(len, rows), default=0)
    met, asked = (
        ones(len(rows), width, dtype=boolean),
        tensor([[j < len(r) for j in range(width)] for r in rows], dtype=boolean),
    )
    for i, row in enumerate(rows):
        for j, wish in enumerate(row):
            met[i, j] = ATTRIBUTES[wish.attribute][int(attributes[wish.attribute][i])] in wish.allowed
    return met, asked.reshape(len(rows), width)
