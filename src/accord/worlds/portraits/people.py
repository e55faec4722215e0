"""Who stands in a portrait and what can be asked of it: identity vectors and named attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.engine.batch import Batch
from accord.engine.seeds import generator
from accord.errors import ConfigError

IDENTITY = (
    "skin", "skin_hue", "face_width", "face_length", "jaw", "hair_light", "hair_hue", "hair_length", "hair_volume",
    "fringe", "eye_spacing", "eye_size", "eye_colour", "brow_thickness", "brow_height", "nose_length", "nose_width",
    "mouth_width", "lips", "freckles",
)  # fmt: skip
"""Each in [-1, 1]; together they are a person, and no prompt can name them."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "expression": ("neutral", "smiling", "sad", "surprised"),
    "glasses": ("none", "glasses", "sunglasses"),
    "hat": ("none", "red", "blue", "green", "yellow"),
    "background": ("white", "blue", "green", "orange", "purple"),
    "clothes": ("red", "blue", "green", "yellow", "black"),
    "pose": ("front", "left", "right"),
}
"""What a prompt can name, with the values of each."""

HELD_OUT = (
    {"glasses": "sunglasses", "hat": "green"},
    {"expression": "surprised", "background": "purple"},
    {"expression": "sad", "hat": "yellow"},
    {"glasses": "glasses", "clothes": "black"},
)
"""Combinations that training pictures and prompts never show."""


@dataclass(frozen=True)
class People(Batch):
    """A batch of n portraits' parameters.

    Attributes:
        identity: columns as `IDENTITY`, in [-1, 1].
        attributes: for each name of `ATTRIBUTES` the index of its value.
        jitter: place (x, y) in [-1, 1] of a small shift of the head, and the light's direction: neither person nor
            prompt decides them.
    """

    identity: Float[Tensor, "n i"]
    attributes: dict[str, Int[Tensor, "n"]]
    jitter: Float[Tensor, "n 3"]

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> "People":
        return People(self.identity[rows], {a: v[rows] for a, v in self.attributes.items()}, self.jitter[rows])

    def trait(self, name: str) -> Float[Tensor, "n 1 1"]:
        """One column of the identity, shaped for drawing."""
        return self.identity[:, IDENTITY.index(name), None, None]

    def is_(self, attribute: str, value: str) -> Float[Tensor, "n 1 1"]:
        """1 where the attribute has the value, 0 elsewhere, shaped for drawing."""
        return (self.attributes[attribute] == ATTRIBUTES[attribute].index(value)).float()[:, None, None]

    def with_identity(self, identity: Float[Tensor, "n i"]) -> "People":
        return replace(self, identity=identity)

    def wearing(self, **values: str) -> "People":
        """The same people with these attributes."""
        changed = dict(self.attributes)
        for name, value in values.items():
            if value not in ATTRIBUTES.get(name, ()):
                raise ConfigError(
                    f"portraits have no {name}={value}: choose among {ATTRIBUTES.get(name, tuple(ATTRIBUTES))}"
                )
            changed[name] = torch.full_like(changed[name], ATTRIBUTES[name].index(value))
        return replace(self, attributes=changed)

    @classmethod
    def draw(cls, n: int, seed: int, *, held_out: bool | None = False) -> "People":
        """n random portraits.

        Args:
            held_out: only the combinations of `HELD_OUT` (each with random rest), none of them, or (None) as they fall.
        """
        g = generator(seed, purpose="portraits")
        identity = torch.rand(n, len(IDENTITY), generator=g) * 2 - 1
        jitter = torch.rand(n, 3, generator=g) * 2 - 1
        drawn = {a: torch.randint(len(values), (n,), generator=g) for a, values in ATTRIBUTES.items()}
        which = torch.randint(len(HELD_OUT), (n,), generator=g)
        if held_out:
            for i, combination in enumerate(HELD_OUT):
                for a, value in combination.items():
                    drawn[a] = torch.where(which == i, ATTRIBUTES[a].index(value), drawn[a])
        elif held_out is not None:
            for combination in HELD_OUT:  # one of the two gives way to its first value, which no combination holds
                shown = torch.ones(n, dtype=torch.bool)
                for a, value in combination.items():
                    shown &= drawn[a] == ATTRIBUTES[a].index(value)
                first = next(iter(combination))
                drawn[first] = torch.where(shown, 0, drawn[first])
        return cls(identity, drawn, jitter)


def faces(n: int, seed: int) -> Float[Tensor, "n i"]:
    """n random identities."""
    return torch.rand(n, len(IDENTITY), generator=generator(seed, purpose="identities")) * 2 - 1
