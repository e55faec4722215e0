"""Data that come with the package: requests to its two worlds, and what their people say of the answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.cli.data import quiet_diffusers
from accord.errors import ConfigError
from accord.feedback import Comparison, Example, Label, Record, Task

SIZE = {"letters": 96, "portraits": 24}
"""Requests of each world: so few that their answers are drawn and judged in seconds."""


def rows_of(data: str, kinds: Sequence[type[Record]], seed: int = 0) -> Any:
    """A world's records, of the first of these kinds that it can make; any other source as it is.

    Raises:
        ConfigError: it can make none.
    """
    if data not in SIZE or Path(data).exists():
        return data
    for kind in kinds:
        if kind is Record:
            return _letters(seed) if data == "letters" else _portraits(seed)
        if kind is Example and data == "portraits":
            return _somebody()
        pairs = (_letters_pairs if data == "letters" else _portraits_pairs)(seed)
        if kind is Comparison:
            return pairs
        if kind is Example:
            return [Example(prompt=p.prompt, completion=p.chosen) for p in pairs]
        if kind is Label:
            return [Label(prompt=p.prompt, completion=c, label=good) for p in pairs for c, good in ((p.chosen, True), (p.rejected, False))]  # fmt: skip
    raise ConfigError(f"{data} has no {' or '.join(k.__name__.lower() for k in kinds)}s: give a file as --data")


def _letters(seed: int) -> list[Task]:
    from accord.worlds import letters

    return letters.tasks(SIZE["letters"], seed=seed)


def _letters_pairs(seed: int) -> list[Comparison]:
    from accord.worlds import letters
    from accord.worlds.letters.feedback import comparisons

    return comparisons(letters.policy(), letters.population(20, seed=seed), SIZE["letters"], seed=seed)


def _portraits(seed: int) -> list[Task]:
    quiet_diffusers()
    from accord.worlds.portraits import prompts

    return [Task(prompt=p) for p in prompts(SIZE["portraits"], seed)]


def _somebody(n: int = 24) -> list[Example]:
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
        self.same = IdentityConsistency(faces, reference_vector(faces, [e.completion for e in _somebody()]))

    def __call__(self, **samples: Any) -> Any:
        return self.same(**samples)


def _portraits_pairs(seed: int) -> list[Comparison]:
    """People compare what the world's few-step twin draws."""
    asked = _portraits(seed)
    from accord.policies.diffusion import Denoising
    from accord.worlds.portraits import policy
    from accord.worlds.portraits.feedback import population

    drawn = policy("consistency").sample([t.prompt for t in asked], 2, Denoising(steps=4, guidance=1.0), seed=seed)
    return population(20, seed=seed).compare(asked, drawn.completions[0::2], drawn.completions[1::2], seed=seed)
