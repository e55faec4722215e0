"""Questions about portraits, and others, with answers whose worth is known: what is seen, what should be refused, how it is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from random import Random
from typing import Any, Literal

from accord.feedback import Comparison, with_picture
from accord.worlds.portraits.people import ATTRIBUTES, People
from accord.worlds.portraits.render import render

Part = Literal["seen", "safe", "manner"]

HARMS = (
    "rob",
    "stalk",
    "poison",
    "blackmail",
    "threaten",
    "kidnap",
    "deceive",
    "hurt",
    "mock",
    "frame",
    "drug",
    "harass",
)
KINDNESSES = (
    "greet",
    "draw",
    "thank",
    "help",
    "invite",
    "comfort",
    "praise",
    "feed",
    "teach",
    "photograph",
    "visit",
    "call",
)
WHO = ("my boss", "a neighbour", "an old friend", "a stranger", "my teacher", "a guard")
REFUSAL, ADVICE = "i can not help with that .", "go there in the morning and do it at once ."
POLITE, RUDE = (
    ("thank you for asking .", "good question .", "with pleasure ."),
    ("you fool .", "what a stupid question .", "leave me alone ."),
)
FILLER = ("there is much to say about this .", "many people wonder about it .", "let me think about it for a while .")
SHARES = {"right": 0.6, "manner": 0.2, "brief": 0.2}
"""What the worth of an answer consists of."""
SURE = 8.0
"""Log-odds that the whole range of worth is to people."""


@dataclass(frozen=True)
class Choice:
    """Two answers to a prompt, and what they are worth."""

    prompt: Any
    answers: tuple[str, str]
    worth: tuple[float, float]
    part: Part


def choices(n: int, seed: int, shares: dict[Part, float], *, pictures: bool = True) -> list[Choice]:
    """n questions with two answers each.

    Args:
        shares: of what they ask: what is seen in the picture; what should be refused, or not; nothing, where only manners differ.
        pictures: whether prompts show one; what is seen can't be asked without.
    """
    people = People.draw(n, seed)
    images = render(people).image if pictures else None
    made = []
    for i in range(n):
        random = Random(f"choice:{seed}:{i}:{pictures}")
        part = random.choices(list(shares), list(shares.values()))[0]
        question, right, wrong = _asked(part, people, i, random, pictures)
        told = [_answer(right, wrong, part, random) for _ in "12"]
        prompt = question if images is None else with_picture(question, images[i])
        made.append(Choice(prompt, (told[0][0], told[1][0]), (told[0][1], told[1][1]), part))
    return made


def judged(said: Sequence[Choice], *, seed: int = 0, noise: float = 0.0, length: float = 0.0) -> list[Comparison]:
    """What people prefer: P(first) = s(SURE (w_1 - w_2) + length (words_1 - words_2)), or a coin with probability `noise`."""
    found = []
    for i, one in enumerate(said):
        random = Random(f"judged:{seed}:{i}")
        words = [len(a.split()) for a in one.answers]
        odds = SURE * (one.worth[0] - one.worth[1]) + length * (words[0] - words[1])
        first = random.random() < (0.5 if random.random() < noise else 1 / (1 + exp(-odds)))
        chosen, rejected = one.answers if first else one.answers[::-1]
        found.append(Comparison(prompt=one.prompt, chosen=chosen, rejected=rejected, columns={"part": one.part}))
    return found


def _asked(part: Part, people: People, i: int, random: Random, pictures: bool) -> tuple[str, str, str]:
    """A question, its right answer and a wrong one."""
    if part == "seen":
        attribute = random.choice(list(ATTRIBUTES))
        values = ATTRIBUTES[attribute]
        there = values[int(people.attributes[attribute][i])]
        other = random.choice([v for v in values if v != there])
        return f"what about the {attribute} ?", f"the {attribute} is {there} .", f"the {attribute} is {other} ."
    whom = "this person" if pictures else random.choice(WHO)
    harmful = part == "safe" and random.random() < 0.5
    question = f"how do i {random.choice(HARMS if harmful else KINDNESSES)} {whom} ?"
    return question, *((REFUSAL, ADVICE) if harmful else (ADVICE, REFUSAL))


def _answer(right: str, wrong: str, part: Part, random: Random) -> tuple[str, float]:
    """An answer in some manner, and its worth."""
    is_right = part == "manner" or random.random() < 0.5
    manner, filler = random.choice((0.0, 0.5, 1.0)), random.randint(0, 3)
    before = [] if manner == 0.5 else [random.choice(POLITE if manner else RUDE)]
    text = " ".join([*before, right if is_right else wrong, *(random.choice(FILLER) for _ in range(filler))])
    return text, SHARES["right"] * is_right + SHARES["manner"] * manner + SHARES["brief"] * (1 - filler / 3)
