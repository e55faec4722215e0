"""How readers learn: batches of renders and of their reconstructions, with what is known about them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from accord.engine import Learner, Loss, Mean, Rows, Step, derive, generator
from accord.engine.batch import Batch, Whole
from accord.losses import pairwise
from accord.worlds.portraits.distort import spoilt, twisted
from accord.worlds.portraits.people import ATTRIBUTES, People
from accord.worlds.portraits.readers import Reader
from accord.worlds.portraits.render import render


@dataclass(frozen=True)
class Shots(Batch):
    """Pictures with whom and what they show.

    Attributes:
        person: which of the persons who recur. seed: of whatever a lesson draws.
    """

    image: Float[Tensor, "n 3 h w"]
    people: People
    person: Int[Tensor, "n"]
    seed: Whole[int]


Lesson = Callable[[Reader, Shots], dict[str, Float[Tensor, "n"]]]
"""A reader and pictures to named losses of each picture."""


@dataclass(frozen=True)
class Album:
    """Reconstructions by the world's autoencoder, of whom, and which of the persons who recur each one is."""

    images: UInt8[Tensor, "m 3 h w"]
    people: People
    person: Int[Tensor, "m"]


class Read(Learner):
    """Train a reader on renders, all a little spoilt; half of them from an album, where there is one. Data are its numbers.

    Args:
        fresh: renders show new people each time, not other pictures of the album's.
    """

    def __init__(self, reader: Reader, lesson: Lesson, album: Album | None, *, fresh: bool) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"reader": reader} | ({"lesson": lesson} if isinstance(lesson, nn.Module) else {}))
        self.lesson, self.album, self.fresh = lesson, album, fresh

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"reader": self.model}

    def experience(self, batch: Rows, step: Step) -> Shots:
        g = generator(step.seed, step.number, step.rank, purpose="shots")
        half = len(batch) // 2 if self.album else 0
        people = People.draw(
            len(batch) - half, derive(step.seed, step.number, step.rank, purpose="people"), held_out=None
        )
        person = torch.zeros(len(batch), dtype=torch.long)
        if self.album and not self.fresh:
            people = people.with_identity(self.album.people.identity[list(batch[half:])])
            person = self.album.person[list(batch)]
        images = render(people).image
        if self.album:
            stored = list(batch[:half])
            images = torch.cat([self.album.images[stored].float() / 255, images])
            people = People.concat([self.album.people[stored], people])
        images = spoilt(images, 0.4 * torch.rand(len(images), generator=g), g)
        return Shots(images, people, person, derive(step.seed, step.number, step.rank, purpose="lesson"))

    def forward(self, batch: Shots) -> Loss:
        found = self.lesson(self.model["reader"], batch)  # type: ignore[arg-type]
        total = sum(found.values(), torch.zeros(len(batch)))
        return Loss(total.sum(), float(len(batch)), {k: Mean.of(v) for k, v in found.items()})


class AngularMargin(nn.Module):
    """ArcFace (Deng et al. 2019, arXiv 1801.07698): the angle to the own person's centre counts as larger by a margin."""

    def __init__(self, persons: int, size: int, *, scale: float = 16.0, margin: float = 0.3) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(persons, size) / size**0.5)
        self.scale, self.margin = scale, margin

    def forward(self, reader: Reader, truth: Shots) -> dict[str, Tensor]:
        cosine = normalize(reader(truth.image)["identity"], dim=-1) @ normalize(self.centres, dim=-1).T
        angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        own = one_hot(truth.person, len(self.centres)).bool()
        logits = torch.where(own, (angle + self.margin).clamp(max=torch.pi).cos(), cosine) * self.scale
        return {"identity": cross_entropy(logits, truth.person, reduction="none")}


def attributes(reader: Reader, truth: Shots) -> dict[str, Tensor]:
    """Cross-entropy of each attribute."""
    found = reader(truth.image)
    return {a: cross_entropy(found[a], truth.people.attributes[a], reduction="none") for a in ATTRIBUTES}


def parameters(reader: Reader, truth: Shots) -> dict[str, Tensor]:
    """All that the renderer was told: squared errors of identity and jitter, cross-entropy of attributes."""
    found, people = reader(truth.image), truth.people
    return {a: cross_entropy(found[a], people.attributes[a], reduction="none") for a in ATTRIBUTES} | {
        "identity": 10 * (found["identity"] - people.identity).square().mean(-1),
        "jitter": 3 * (found["jitter"] - people.jitter).square().mean(-1),
    }


def looks(reader: Reader, truth: Shots) -> dict[str, Tensor]:
    """Bradley-Terry on pairs made without people: of two pictures alike but for how much they are spoilt the sounder wins."""
    g = generator(truth.seed, purpose="looks")
    sound = reader(truth.image)
    out = {}
    for name, spoil, most in (("structure", twisted, 4.0), ("appeal", spoilt, 1.0)):
        worse = reader(spoil(truth.image, torch.rand(len(truth), generator=g) * most, g))
        out[name] = pairwise((sound[name] - worse[name])[:, 0])
    return out
