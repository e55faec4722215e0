"""Data that come with the package: requests to its worlds of words and pictures, and what their people say of the answers; starts in its room."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.cli.data import quiet_diffusers
from accord.errors import ConfigError
from accord.feedback import Comparison, Example, Label, Record, Task

SIZE = {
    "letters": 96,
    "letters/reason": 96,
    "letters/quiz": 96,
    "letters/lookup": 96,
    "letters/explain": 96,
    "letters/people": 240,
    "letters/contexts": 240,
    "portraits": 24,
    "room": 32,
}
"""Requests of each world, or of one kind alone: so few that their answers are drawn and judged in seconds."""


def rows_of(data: str, kinds: Sequence[type[Record]], seed: int = 0, limit: int | None = None) -> Any:
    """A world's records, of the first of these kinds that it can make; any other source as it is.

    Args:
        limit: make at most so many requests.

    Raises:
        ConfigError: it can make none.
    """
    if data not in SIZE or Path(data).exists():
        return data
    n = min(SIZE[data], limit or SIZE[data])
    if data == "room" and Record in kinds:
        from accord.worlds.room import starts

        return starts(n)
    for kind in kinds if data != "room" else ():
        if kind is Record:
            return _portraits(n, seed) if data == "portraits" else _letters(data, n, seed)
        if kind is Example and data == "portraits":
            return _somebody(n)
        if data in ("letters/people", "letters/contexts"):
            pairs = _camps(n, seed) if data == "letters/people" else _contexts(n, seed)
        else:
            pairs = _portraits_pairs(n, seed) if data == "portraits" else _letters_pairs(data, n, seed)
        if kind is Comparison:
            return pairs
        if kind is Example:
            return [Example(prompt=p.prompt, completion=p.chosen) for p in pairs]
        if kind is Label:
            return [Label(prompt=p.prompt, completion=c, label=good) for p in pairs for c, good in ((p.chosen, True), (p.rejected, False))]  # fmt: skip
    raise ConfigError(f"{data} has no {' or '.join(k.__name__.lower() for k in kinds)}s: give a file as --data")


def _letters(data: str, n: int, seed: int) -> list[Task]:
    """Requests with what rewards read of them: their answers, the calls that they want as text, a reply as good as can be."""
    from accord.worlds import letters
    from accord.worlds.letters.demonstrations import called, demonstrations

    kinds = [k for k in letters.MORE if data.endswith(f"/{k}")] or letters.KINDS
    asked = letters.tasks(n, seed=seed, kinds=kinds)
    more = [
        {"calls": called(t), "demonstration": d.completion}
        for t, d in zip(asked, demonstrations(asked, seed), strict=True)
    ]
    return [t.model_copy(update={"columns": {**t.columns, **own}}) for t, own in zip(asked, more, strict=True)]


def _letters_pairs(data: str, n: int, seed: int) -> list[Comparison]:
    """Two answers of the base policy to each request, compared and rated by people."""
    from accord.worlds import letters

    asked, people = _letters(data, n, seed), letters.population(20, seed=seed)
    drawn = (
        letters.policy()
        .sample([t.prompt for t in asked], 2, {"max_new_tokens": 96 if "/" in data else 48}, seed=seed)
        .completions
    )
    rated = people.rate([t for t in asked for _ in "12"], drawn, seed=seed)
    worth = {(str(r.prompt), str(r.completion)): r.aspects["overall"] for r in rated}
    pairs = people.compare(asked, drawn[0::2], drawn[1::2], seed=seed)
    return [p.model_copy(update={"columns": {**p.columns, **{f"score_{side}": round(worth[str(p.prompt), str(getattr(p, side))])
                                                              for side in ("chosen", "rejected")}}}) for p in pairs]  # fmt: skip


def _camps(n: int, seed: int) -> list[Comparison]:
    """Two camps of people, of whom each judges a dozen pairs of answers."""
    from accord.worlds import letters
    from accord.worlds.letters.feedback import comparisons

    return comparisons(letters.policy(), letters.population(max(2, n // 12), seed=seed, groups=2), n, seed=seed)


def _contexts(n: int, seed: int) -> list[Comparison]:
    """The same answers, judged in two contexts: by how polite they are, and by how short."""
    from accord.worlds import letters
    from accord.worlds.letters.feedback import comparisons

    people = letters.population(20, seed=seed)
    return [
        p for c in ("polite", "concise") for p in comparisons(letters.policy(), people, n // 2, seed=seed, context=c)
    ]


def _portraits(n: int, seed: int) -> list[Task]:
    quiet_diffusers()
    from accord.worlds.portraits import prompts

    return [Task(prompt=p) for p in prompts(n, seed)]


def _somebody(n: int) -> list[Example]:
    """One person, in different pictures."""
    quiet_diffusers()
    from accord.worlds.portraits import People, render
    from accord.worlds.portraits.prompts import describe

    drawn = People.draw(n, 0)
    people = drawn.with_identity(drawn.identity[:1].expand_as(drawn.identity))
    asked = describe(people, 0, mention=0.7, subject="person")
    return [Example(prompt=p, completion=x) for p, x in zip(asked, render(people).image, strict=True)]


class Somebody:
    """How much a picture looks like the person whose pictures `--data portraits` are, to a face encoder; with gradient."""

    def __init__(self) -> None:
        from accord.identity import IdentityConsistency, reference_vector
        from accord.worlds.portraits import PortraitFaces

        faces = PortraitFaces()
        self.same = IdentityConsistency(
            faces, reference_vector(faces, [e.completion for e in _somebody(SIZE["portraits"])])
        )

    def __call__(self, **samples: Any) -> Any:
        return self.same(**samples)


def _portraits_pairs(n: int, seed: int) -> list[Comparison]:
    """People compare what the world's few-step twin draws."""
    asked = _portraits(n, seed)
    from accord.policies.diffusion import Denoising
    from accord.worlds.portraits import policy
    from accord.worlds.portraits.feedback import population

    drawn = policy("consistency").sample([t.prompt for t in asked], 2, Denoising(steps=4, guidance=1.0), seed=seed)
    return population(20, seed=seed).compare(asked, drawn.completions[0::2], drawn.completions[1::2], seed=seed)
