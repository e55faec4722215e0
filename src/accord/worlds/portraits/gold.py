"""The true quality of a portrait: what an independent estimator reads off it, checked by drawing it again.

Methods must never see it: only annotators and reports do.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord.errors import ModelError
from accord.feedback import text_of
from accord.rewards import Scores
from accord.worlds.portraits.model import WEIGHTS
from accord.worlds.portraits.people import IDENTITY, People
from accord.worlds.portraits.prompts import fulfilled
from accord.worlds.portraits.readers import Reader, read_people, residual

SHARES = {"identity": 0.6, "prompt": 0.4}
"""Of a sound portrait's gold. Without a wanted person the prompt is all."""

STEEP = 4
"""How fast value falls beyond the limit, see `soundness`."""

VARIANCE = 1 / 3
"""Of each trait over random people; two strangers are apart by twice that, squared."""


@dataclass(frozen=True)
class Estimate:
    """Who and what a picture shows.

    Attributes:
        residual: how far the picture is from its own description drawn again.
    """

    people: People
    residual: Float[Tensor, "n"]

    @property
    def valid(self) -> Bool[Tensor, "n"]:
        """Whether it is no farther than the `limit`."""
        return self.residual <= limit()

    @property
    def soundness(self) -> Float[Tensor, "n"]:
        """``1 / (1 + (residual / limit)^4)``: above 0.9 for most portraits, half at the limit, 0.06 at twice the limit, and nowhere a cliff."""
        return 1 / (1 + (self.residual / limit()) ** STEEP)


@lru_cache(maxsize=1)
def reader() -> Reader:
    return Reader.load("gold", WEIGHTS)


@lru_cache(maxsize=1)
def figures() -> dict[str, Any]:
    """What `check` found on plain reconstructions: "residual_99", and the estimator's "error" of each trait."""
    path = WEIGHTS / "gold.json"
    if not path.is_file():
        raise ModelError(f"{path} is missing: make it with python -m accord.worlds.portraits.check")
    return json.loads(path.read_text())


def limit() -> float:
    """The residual that 99 of 100 plain reconstructions stay under: as many of those that are twisted by 1.5 pixels lie beyond it."""
    return float(figures()["residual_99"])


def trust() -> Float[Tensor, "i"]:
    """How much of each trait's variance the estimator explains on plain reconstructions: what it can't read doesn't count."""
    error = torch.tensor([figures()["error"][t] for t in IDENTITY])
    return (1 - error.square() / VARIANCE).clamp(min=0)


def likeness(a: Float[Tensor, "n i"], b: Float[Tensor, "n i"]) -> Float[Tensor, "n"]:
    """1 for the same identity, 0 as far as strangers are from each other (traits weighed by `trust`)."""
    weight = trust()
    gap = ((a - b).square() * weight).sum(-1) / weight.sum()
    return (1 - (gap / (2 * VARIANCE)).sqrt()).clamp(0, 1)


@torch.no_grad()
def estimate(images: Float[Tensor, "n 3 64 64"]) -> Estimate:
    people = read_people(reader(), images)
    return Estimate(people, residual(images, people))


def gold(*, prompts: Sequence[Any], completions: Any, person: Any = None, **columns: Any) -> Scores:
    """The gold of portraits: ``structure * (0.6 identity + 0.4 prompt)``, or ``structure * prompt`` where nobody is wanted.

    Its aspects are what the estimator reads, of whatever picture: identity: 1 for the wanted person, 0 as far as strangers
    are. prompt: share of the wishes that are fulfilled (1 without any). structure: how sound a portrait it is, see
    `Estimate.soundness`. valid: whether its residual keeps within the limit; it counts for nothing more.

    Args:
        person: identity vector of whom each picture should show.
    """
    images = completions if isinstance(completions, Tensor) else torch.stack(list(completions))
    found = estimate(images.detach().cpu().float())
    met, asked = fulfilled([text_of(p) for p in prompts], found.people.attributes)
    aspects = {"prompt": torch.where(asked.any(1), (met & asked).sum(1) / asked.sum(1).clamp(min=1), 1.0)}
    if person is not None:
        aspects["identity"] = likeness(found.people.identity, torch.stack([torch.as_tensor(p) for p in person]))
    total = sum(SHARES[a] for a in aspects)
    content = sum((SHARES[a] / total * v for a, v in aspects.items()), torch.zeros(len(images)))
    return Scores.of(found.soundness * content,
                     aspects={**aspects, "structure": found.soundness, "valid": found.valid.float()})  # fmt: skip
