"""What the base model is pretrained on: replies of mixed quality to training requests, and verdicts of careless judges."""

from collections.abc import Iterator, Mapping
from random import Random

from accord.feedback import Example
from accord.worlds.letters.compose import FLAWLESS, compose
from accord.worlds.letters.judge import judged
from accord.worlds.letters.manners import MANNERS
from accord.worlds.letters.tasks import KINDS, MORE, Kind, Request, draw_request, held_out
from accord.worlds.letters.words import TOOLS

SHARES: dict[str, float] = {"plain": 0.5, "reason": 0.1, "quiz": 0.08, "lookup": 0.1, "explain": 0.1, "judge": 0.12}
"""Of what the corpus consists: the five plain kinds together, each of the others, verdicts."""
LATER: dict[str, float] = {"plain": 0.35, "reason": 0.1, "quiz": 0.07, "lookup": 0.13, "explain": 0.1, "judge": 0.25}
"""The same where the plain kinds are known: what is harder needs more examples."""
PLAIN = {"plain": 1.0}
MANNERED = 0.4
"""Share of requests with a manner."""


def corpus(n: int, seed: int, shares: Mapping[str, float] = SHARES, *, flawless: bool = False) -> list[Example]:
    """n examples, none on a request of the test split; `shares` say of what.

    Args:
        flawless: replies are as good as their request's manner lets them be, verdicts right.
    """
    random = Random(f"corpus:{seed}")
    made: list[Example] = []
    while len(made) < n:
        made += _examples(random, shares, flawless)
    return made[:n]


def _examples(random: Random, shares: Mapping[str, float], flawless: bool) -> Iterator[Example]:
    what = random.choices(list(shares), list(shares.values()))[0]
    if what == "judge":
        yield judged(
            training_request(random, random.choice((*KINDS, *KINDS, "reason", "explain"))), random, flawless=flawless
        )
        return
    request = training_request(random, random.choice(KINDS) if what == "plain" else _named(what), _manner(random))
    asked = FLAWLESS if flawless else {}
    yield from turns(
        request, compose(request, random, lambda p: random.choice(TOOLS[p.split()[0]]), unless_asked=asked)
    )


def _named(what: str) -> Kind:
    return next(k for k in MORE if k == what)


def training_request(random: Random, kind: Kind, manner: str = "") -> Request:
    """A random request of the training split."""
    while held_out(request := draw_request(random, kind, manner)):
        pass
    return request


def _manner(random: Random) -> str:
    if random.random() > MANNERED:
        return ""
    if random.random() < 0.25:
        return random.choice(("<better>", "<worse>"))
    return " ".join(random.sample(list(MANNERS), 1 if random.random() < 0.8 else 2))


def turns(request: Request, reply: str) -> Iterator[Example]:
    """Each of the policy's turns in an episode, what came before it in the prompt."""
    last = "</result> "
    called, at = reply.rfind("</call>"), reply.rfind(last)
    if at < 0:
        yield Example(prompt=request.text, completion=reply)
        return
    yield Example(prompt=request.text, completion=reply[: called + len("</call>")])
    yield Example(prompt=f"{request.text} {reply[: at + len(last) - 1]}", completion=reply[at + len(last) :])
