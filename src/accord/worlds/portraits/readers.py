"""Networks that read portraits: one small residual net with linear heads, for the world's proxies and its gold alike."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, silu

from accord.errors import ModelError
from accord.policies.diffusion import square
from accord.policies.meter import count_call
from accord.worlds.portraits.people import ATTRIBUTES, IDENTITY, People
from accord.worlds.portraits.render import SIZE, render


@dataclass(frozen=True)
class Shape:
    """Heads with their sizes, and width, of one of the world's readers."""

    heads: dict[str, int]
    width: int


_ATTRIBUTES = {a: len(values) for a, values in ATTRIBUTES.items()}
_ALL = {"identity": len(IDENTITY), "jitter": 3, **_ATTRIBUTES}
SHAPES = {
    "teacher": Shape(_ALL, 24),
    "identity": Shape({"identity": 64}, 24),
    "attributes": Shape(_ATTRIBUTES, 24),
    "looks": Shape({"structure": 1, "appeal": 1}, 16),
    "gold": Shape(_ALL, 40),
}


class Block(nn.Module):
    """``x + f(x)`` at one resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(silu(norm(y)))
        return x + y


class Reader(nn.Module):
    """Pictures in [0, 1] to named vectors; of other sizes it sees the middle square, at 64 x 64.

    Args:
        heads: name and size of each vector. width: channels at 32 x 32; they grow by it with each halving.
    """

    def __init__(self, heads: dict[str, int], *, width: int = 24, hidden: int = 128) -> None:
        super().__init__()
        widths = [width * (i + 1) for i in range(4)]
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), Block(after)]
        self.trunk = nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU(), nn.Flatten(),
                                   nn.Linear(16 * widths[-1], hidden), nn.SiLU())  # fmt: skip
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in heads.items()})

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n k"]]:
        x = (square(images.float(), SIZE) * 2 - 1).contiguous(memory_format=torch.channels_last)
        count_call(self, lambda: self.trunk(x), len(x), tuple(x.shape[1:]), backward=x.requires_grad)
        found = self.trunk(x)
        return {name: head(found) for name, head in self.heads.items()}

    @classmethod
    def load(cls, name: str, folder: Path) -> "Reader":
        """One of the world's trained readers, frozen.

        Raises:
            ModelError: the file is not there.
        """
        file = folder / f"{name}.safetensors"
        if not file.is_file():
            raise ModelError(f"{file} is missing: make it with python -m accord.worlds.portraits.train {name}")
        reader = cls(SHAPES[name].heads, width=SHAPES[name].width)
        reader.load_state_dict({k: v.float() for k, v in load_file(file).items()})
        return reader.requires_grad_(False).eval()


@torch.no_grad()
def read_people(network: Reader, images: Float[Tensor, "n 3 64 64"]) -> People:
    """The likeliest parameters of each picture."""
    found = network(images)
    return People(
        found["identity"].clamp(-1, 1), {a: found[a].argmax(-1) for a in ATTRIBUTES}, found["jitter"].clamp(-1, 1)
    )


def residual(images: Float[Tensor, "n 3 64 64"], people: People) -> Float[Tensor, "n"]:
    """How far pictures are from these people drawn: mean absolute difference, a little blurred, as edges may be a pixel off."""
    drawn, images = render(people).image, square(images, SIZE)
    return (avg_pool2d(images, 3, 1, 1) - avg_pool2d(drawn, 3, 1, 1)).abs().mean((1, 2, 3))
