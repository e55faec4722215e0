"""Draws people: layers of soft shapes, composed back to front. Batched, differentiable in the identity, about 1,000 pictures a second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from accord.worlds.portraits.people import ATTRIBUTES, People
from accord.worlds.portraits.shapes import Canvas, mix, union

SIZE = 64
Colour = Float[Tensor, "n 3"]
Part = tuple[str, Tensor, Tensor]

COLOURS = {
    "white": (0.93, 0.93, 0.90), "red": (0.80, 0.16, 0.15), "blue": (0.20, 0.38, 0.78), "green": (0.20, 0.58, 0.27),
    "yellow": (0.93, 0.79, 0.20), "orange": (0.93, 0.55, 0.20), "purple": (0.55, 0.30, 0.68), "black": (0.10, 0.10, 0.12),
}  # fmt: skip
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner", "chin")
"""Left and right are the picture's."""


@dataclass(frozen=True)
class Layer:
    """One part of a picture: where it covers, in which colour, and which part of a person it belongs to."""

    part: str
    alpha: Float[Tensor, "n h w"]
    colour: Float[Tensor, "n 3 h w"] | Float[Tensor, "n 3 1 1"]


@dataclass(frozen=True)
class Picture:
    """What a scene looks like and what is known about it: layers on a ground, back to front, each computed when it is asked for.

    Attributes:
        landmarks: x and y in pixels, of `LANDMARKS`.
    """

    ground: Float[Tensor, "n 3 h w"]
    layers: Sequence[Layer]
    landmarks: Float[Tensor, "n 6 2"]

    @cached_property
    def image(self) -> Float[Tensor, "n 3 h w"]:
        """In [0, 1]."""
        image = self.ground
        for layer in self.layers:
            image = mix(image, layer.colour, layer.alpha[:, None])
        return image

    @cached_property
    def masks(self) -> dict[str, Float[Tensor, "n h w"]]:
        """For each part the share of a pixel that shows it; with "background" they sum to 1."""
        masks = {"background": torch.ones_like(self.ground[:, 0])}
        for layer in self.layers:
            masks = {part: mask * (1 - layer.alpha) for part, mask in masks.items()}
            masks[layer.part] = masks.get(layer.part, 0.0) + layer.alpha
        return masks

    @cached_property
    def depth(self) -> Float[Tensor, "n h w"]:
        """Index of the layer one sees, 0 for the background to 1 for the front."""
        depth = torch.zeros_like(self.ground[:, 0])
        for i, layer in enumerate(self.layers):
            depth = mix(depth, torch.tensor((i + 1) / len(self.layers), device=depth.device), layer.alpha)
        return depth


def render(people: People, *, size: int = SIZE, place: tuple[float, float, float] = (0.0, -0.02, 1.28)) -> Picture:
    """Draw one person in each picture.

    Args:
        people: whom, and how they look today. size: of the square picture. place: x, y and scale of the person.
    """
    canvas = Canvas.blank(len(people), size, people.identity.device)
    layers = person(people, canvas.placed(*place))
    points = landmarks(people) * place[2] + torch.tensor(place[:2], device=people.identity.device)
    pixels = torch.stack([(points[..., 0] + 1) * size / 2, (1 - points[..., 1]) * size / 2], -1)
    return Picture(backdrop(people, canvas), layers, pixels)


def backdrop(people: People, canvas: Canvas) -> Float[Tensor, "n 3 h w"]:
    """A plain wall, paler than clothes of the same name and a little darker below."""
    wall = mix(_attribute_colour(people, "background"), torch.tensor(1.0), 0.4)
    return wall[..., None, None] * (0.94 + 0.06 * canvas.y)[:, None]


@dataclass(frozen=True)
class Head:
    """Measures of a head in its own frame that several parts share, [n, 1, 1] each."""

    width: Tensor
    height: Tensor
    turn: Tensor
    eye_x: Tensor
    eye_y: Tensor
    mouth_y: Tensor
    mouth: Tensor
    nose_y: Tensor

    @classmethod
    def of(cls, p: People) -> "Head":
        t = p.trait
        height = 0.50 + 0.06 * t("face_length")
        eye_y = torch.full_like(height, 0.07)
        nose_y = eye_y - 0.20 - 0.05 * t("nose_length")
        return cls(
            width=0.39 + 0.055 * t("face_width"), height=height,
            turn=0.10 * (p.is_("pose", "right") - p.is_("pose", "left")),
            eye_x=0.165 + 0.035 * t("eye_spacing"), eye_y=eye_y, nose_y=nose_y,
            mouth_y=nose_y - 0.125, mouth=0.135 + 0.045 * t("mouth_width"),
        )  # fmt: skip


def _shift(p: People) -> tuple[Tensor, Tensor]:
    """Where the head's origin stands."""
    return 0.04 * p.jitter[:, 0, None, None], 0.03 * p.jitter[:, 1, None, None] + 0.02


def person(p: People, canvas: Canvas) -> list[Layer]:
    """All layers of one person, back to front, in the person's own frame (about [-1, 1])."""
    head = Head.of(p)
    on = canvas.placed(*_shift(p))
    skin, hair = skin_colour(p), hair_colour(p)
    lit = 1 + 0.10 * p.jitter[:, 2, None, None] * (on.x / 0.5).clamp(-1, 1)

    def paint(colour: Colour, shade: Tensor | float = 1.0) -> Tensor:
        return (colour[..., None, None] * (lit * shade)[:, None]).clamp(0, 1)

    parts: Sequence[Callable[..., list[Part]]] = (_body, _face, _features, _front_hair, _hat, _glasses)
    return [
        Layer(part, alpha, colour) for draw in parts for part, alpha, colour in draw(p, head, on, skin, hair, paint)
    ]


def _body(p: People, h: Head, on: Canvas, skin: Colour, hair: Colour, paint: Callable[..., Tensor]) -> list[Part]:
    t = p.trait
    long = t("hair_length")
    volume = 0.06 + 0.04 * t("hair_volume")
    # Short hair ends above the ears, long hair falls to the shoulders.
    back = on.ellipse(-h.turn * 0.5, 0.12, h.width + volume + 0.02, 0.45 + volume)
    fall = on.box(-h.turn * 0.5, -0.10 - 0.28 * long, h.width + volume, 0.22 + 0.30 * long.clamp(min=-0.4), 0.15)
    fall = fall * torch.sigmoid(6 * (long + 0.3))
    dress = _attribute_colour(p, "clothes")
    shoulders = union(on.ellipse(0.0, -1.00, 0.72, 0.40), on.box(0.0, -1.2, 0.72, 0.2))
    return [
        ("hair", union(back * (on.y > -0.12), fall), paint(hair, 0.82)),
        ("skin", on.box(0.0, -0.55, 0.145, 0.20, 0.05), paint(skin, 0.86)),
        ("clothes", shoulders, paint(dress)),
        ("clothes", on.ellipse(0.0, -0.64, 0.20, 0.09), paint(skin, 0.86)),
    ]


def _face(p: People, h: Head, on: Canvas, skin: Colour, hair: Colour, paint: Callable[..., Tensor]) -> list[Part]:
    t = p.trait
    ears = union(
        on.ellipse(-h.width - 0.01 - 0.5 * h.turn, -0.02, 0.06, 0.10),
        on.ellipse(h.width + 0.01 - 0.5 * h.turn, -0.02, 0.06, 0.10),
    )
    # Below the eyes the face narrows towards the chin: little for a square jaw, much for a pointed one.
    down = ((h.eye_y - on.y) / h.height).clamp(0, 1.2)
    narrow = 1 - (0.30 - 0.22 * t("jaw")) * down.square()
    shape = Canvas(on.x / narrow, on.y, on.pixel).ellipse(0.0, -0.02, h.width, h.height)
    freckled = ((t("freckles") + 0.2) * 0.9).clamp(0, 0.75)
    spots = torch.zeros_like(on.x)
    for side in (-1.0, 1.0):
        for dx, dy in ((0.0, 0.0), (0.07, 0.035), (-0.06, 0.04), (0.02, -0.06), (0.11, -0.03)):
            spots = union(spots, on.ellipse(side * (h.eye_x + dx - 0.01) + h.turn, h.nose_y + 0.06 + dy, 0.024, 0.024))
    return [
        ("skin", ears, paint(skin, 0.88)),
        ("skin", shape, paint(skin)),
        ("skin", spots * freckled * shape, paint(skin * rgb(p, 0.62, 0.48, 0.40))),
    ]


def _features(p: People, h: Head, on: Canvas, skin: Colour, hair: Colour, paint: Callable[..., Tensor]) -> list[Part]:
    t = p.trait
    surprised, smiling, sad = (p.is_("expression", e) for e in ("surprised", "smiling", "sad"))
    size = 0.074 + 0.018 * t("eye_size")
    open_ = size * (0.66 + 0.30 * surprised - 0.16 * smiling)
    iris = eye_colour(p)
    layers: list[Part] = []
    white, dark = torch.full_like(skin, 0.96), torch.full_like(skin, 0.06)
    rise = 0.125 + 0.022 * t("brow_height") + 0.05 * surprised
    for side in (-1.0, 1.0):
        x = side * h.eye_x + h.turn
        eye = on.ellipse(x, h.eye_y, size, open_)
        inner = x + 0.25 * h.turn
        layers += [
            ("eyes", eye, paint(white)),
            ("eyes", eye * on.ellipse(inner, h.eye_y, size * 0.58, size * 0.58), paint(iris)),
            ("eyes", eye * on.ellipse(inner, h.eye_y, size * 0.26, size * 0.26), paint(dark)),
            # Sad brows rise towards the middle.
            ("brows", on.placed(x, h.eye_y + rise).turned(side * (0.06 - 0.40 * sad)).arc(
                0.0, 0.0, 0.09, -0.022, 0.021 + 0.011 * t("brow_thickness")), paint(hair, 0.7)),
        ]  # fmt: skip
    nose_x = 1.7 * h.turn
    wide = 0.05 + 0.018 * t("nose_width")
    layers += [
        (
            "nose",
            on.ellipse(nose_x * 0.85, (h.eye_y + h.nose_y) / 2, 0.016, (h.eye_y - h.nose_y) / 2.2, 2.0) * 0.45,
            paint(skin, 0.80),
        ),
        ("nose", on.ellipse(nose_x, h.nose_y, wide, 0.034) * 0.8, paint(skin, 0.74)),
    ]
    lips = 0.031 + 0.013 * t("lips")
    bend = 0.105 * smiling - 0.095 * sad
    line = on.arc(1.25 * h.turn, h.mouth_y - bend * 0.6, h.mouth * (1 + 0.15 * smiling - 0.35 * surprised), bend, lips)
    gape = on.ellipse(1.25 * h.turn, h.mouth_y - 0.025, 0.072, 0.092) * surprised
    red = mix(skin * rgb(p, 0.80, 0.40, 0.40), rgb(p, 0.66, 0.12, 0.16), 0.45)
    return [
        *layers,
        ("mouth", line * (1 - surprised), paint(red)),
        ("mouth", on.ellipse(1.25 * h.turn, h.mouth_y - 0.025, 0.072 + lips, 0.092 + lips) * surprised, paint(red)),
        ("mouth", gape, paint(dark + 0.12)),
    ]


def _front_hair(p: People, h: Head, on: Canvas, skin: Colour, hair: Colour, paint: Callable[..., Tensor]) -> list[Part]:
    t = p.trait
    cap = on.ellipse(
        -h.turn * 0.3,
        0.06,
        h.width + 0.03 + 0.02 * t("hair_volume"),
        0.47 + 0.05 * t("face_length") + 0.03 * t("hair_volume"),
    )
    # The hairline: high and round without a fringe, low over the brow with one.
    line = 0.345 - 0.075 * t("fringe") - 0.30 * (on.x / (h.width + 0.05)).square()
    return [("hair", cap * on.inside((line - on.y) * 0.9), paint(hair))]


def _hat(p: People, h: Head, on: Canvas, skin: Colour, hair: Colour, paint: Callable[..., Tensor]) -> list[Part]:
    worn = 1 - p.is_("hat", "none")
    colour = _attribute_colour(p, "hat")
    crown = on.ellipse(0.0, 0.30, h.width + 0.05, 0.42) * on.inside(0.34 - on.y)
    brim = on.box(h.turn, 0.345, h.width + 0.14, 0.045, 0.04)
    return [("hat", crown * worn, paint(colour)), ("hat", brim * worn, paint(colour, 0.80))]


def _glasses(p: People, h: Head, on: Canvas, skin: Colour, hair: Colour, paint: Callable[..., Tensor]) -> list[Part]:
    dark, worn = p.is_("glasses", "sunglasses"), 1 - p.is_("glasses", "none")
    frame = torch.zeros_like(on.x)
    glass = torch.zeros_like(on.x)
    radius = (h.eye_x - 0.012).clamp(max=0.125)
    for side in (-1.0, 1.0):
        x = side * h.eye_x + h.turn
        frame = union(frame, on.ring(x, h.eye_y, radius, 0.105, 0.016))
        glass = union(glass, on.ellipse(x, h.eye_y, radius, 0.105))
    bridge = on.box(h.turn, h.eye_y + 0.02, 0.05, 0.014)
    black = torch.full_like(skin, 0.07)
    return [
        ("glasses", glass * dark * 0.94, paint(black)),
        ("glasses", union(frame, bridge) * worn, paint(black)),
    ]


def landmarks(p: People) -> Float[Tensor, "n 6 2"]:
    """Places of `LANDMARKS` in the person's frame."""
    h = Head.of(p)
    x0, y0 = _shift(p)
    mouth_x = 1.25 * h.turn
    points = [
        (h.turn - h.eye_x, h.eye_y), (h.turn + h.eye_x, h.eye_y), (1.7 * h.turn, h.nose_y),
        (mouth_x - h.mouth, h.mouth_y), (mouth_x + h.mouth, h.mouth_y), (0.0 * h.turn, -0.02 - h.height),
    ]  # fmt: skip
    return torch.stack([torch.cat([(x + x0)[:, 0], (y + y0)[:, 0]], -1) for x, y in points], 1)


def skin_colour(p: People) -> Colour:
    """From pale to dark, from rosy to olive."""
    dark, hue = p.trait("skin")[..., 0] * 0.5 + 0.5, p.trait("skin_hue")[..., 0]
    pale, deep = rgb(p, 0.98, 0.84, 0.74), rgb(p, 0.42, 0.26, 0.18)
    return mix(pale, deep, dark.pow(1.2)) * (1 + hue * rgb(p, 0.03, -0.035, -0.05))


def hair_colour(p: People) -> Colour:
    """From black to blond; redder or greyer by its hue."""
    light, hue = p.trait("hair_light")[..., 0] * 0.5 + 0.5, p.trait("hair_hue")[..., 0]
    brown = mix(rgb(p, 0.07, 0.05, 0.05), rgb(p, 0.90, 0.76, 0.42), light)
    red = mix(rgb(p, 0.35, 0.10, 0.05), rgb(p, 0.85, 0.42, 0.15), light)
    grey = mix(rgb(p, 0.25, 0.26, 0.29), rgb(p, 0.80, 0.80, 0.82), light)
    return mix(mix(brown, red, hue.clamp(min=0) * 0.85), grey, (-hue).clamp(min=0) * 0.85)


def eye_colour(p: People) -> Colour:
    """From brown over green to blue."""
    t = p.trait("eye_colour")[..., 0]
    green = rgb(p, 0.30, 0.50, 0.25)
    return mix(
        mix(rgb(p, 0.32, 0.18, 0.08), green, (t + 1).clamp(max=1)),
        rgb(p, 0.25, 0.50, 0.85),
        t.clamp(min=0),
    )


def _attribute_colour(p: People, attribute: str) -> Colour:
    colours = torch.stack([rgb(p, *COLOURS.get(v, (0.5, 0.5, 0.5))) for v in ATTRIBUTES[attribute]])
    return colours[p.attributes[attribute]]


def rgb(p: People, *colour: float) -> Float[Tensor, "3"]:
    """A colour, where these people lie."""
    return torch.tensor(colour, device=p.identity.device)
