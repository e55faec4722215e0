"""dlib's face network in torch, from dlib's own weights (public domain): 128 numbers a face, differentiable in the pixels."""

import importlib.util
import math
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, pad, relu

from accord.errors import ModelError

SIZE = 150
MEANS = (122.782, 117.001, 104.298)
STAGES = ((3, 32), (4, 64), (3, 128), (3, 256), (1, 256))
"""Blocks and channels; all stages but the first begin by halving the size."""
SMALLEST = 64
"""Numbers in the smallest tensor, the affine of 32 channels; shorter finds are other things that look like one."""


class Block(nn.Module):
    """Two 3x3 convolutions and a skip, which is averaged and padded with zeros where the size halves."""

    def __init__(self, inside: int, channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.first = nn.Conv2d(inside, channels, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.affines = nn.ModuleList([Affine(channels), Affine(channels)])

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y = self.affines[1](self.second(relu(self.affines[0](self.first(x)))))
        skip = avg_pool2d(x, 2, 2) if self.down else x
        size = [max(a, b) for a, b in zip(y.shape[1:], skip.shape[1:], strict=True)]
        return relu(_grow(y, size) + _grow(skip, size))


class Affine(nn.Module):
    """A scale and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class DlibFaceNetwork(nn.Module):
    """Aligned faces, `[n, 3, 150, 150]` in [0, 1], to 128 numbers each; two pictures of one person lie within 0.6 (Euclidean)."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_affine = nn.Conv2d(3, 32, 7, stride=2), Affine(32)
        blocks, inside = [], 32
        for i, (count, channels) in enumerate(STAGES):
            for j in range(count):
                blocks.append(Block(inside, channels, down=i > 0 and j == 0))
                inside = channels
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Parameter(torch.zeros(256, 128))
        self.register_buffer("means", torch.tensor(MEANS)[:, None, None], persistent=False)

    def forward(self, faces: Float[Tensor, "n 3 150 150"]) -> Float[Tensor, "n 128"]:
        x = (faces * 255 - self.means) / 256
        x = max_pool2d(relu(self.stem_affine(self.stem(x))), 3, 2)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3)) @ self.last

    @classmethod
    def load(cls, path: str | Path | None = None) -> "DlibFaceNetwork":
        """The trained network, frozen.

        Args:
            path: of `dlib_face_recognition_resnet_model_v1.dat`; None takes the one of the package face-recognition-models.

        Raises:
            ModelError: no such file, or another one.
        """
        tensors = read_tensors(
            Path(path) if path is not None else models_folder() / "dlib_face_recognition_resnet_model_v1.dat"
        )
        network = cls()
        pairs: list[tuple[nn.Conv2d, Affine]] = [(network.stem, network.stem_affine)]
        for block in network.blocks:
            pairs += [(block.first, block.affines[0]), (block.second, block.affines[1])]  # type: ignore[index, list-item]
        wanted = [n for c, a in pairs for n in (c.weight.numel() + a.scale.numel(), 2 * a.scale.numel())] + [256 * 128]
        if [len(t) for t in tensors] != wanted:
            raise ModelError(f"{path} doesn't hold dlib's face network: its {len(tensors)} tensors have other sizes")
        with torch.no_grad():
            for (conv, affine), weights, scales in zip(pairs, tensors[:-1:2], tensors[1:-1:2], strict=True):
                cut = conv.weight.numel()
                conv.weight.copy_(weights[:cut].reshape(conv.weight.shape))
                conv.bias.copy_(weights[cut:])  # type: ignore[union-attr]
                affine.scale.copy_(scales[: len(scales) // 2])
                affine.shift.copy_(scales[len(scales) // 2 :])
            network.last.copy_(tensors[-1].reshape(256, 128))
        return network.requires_grad_(False).eval()


def models_folder() -> Path:
    """Where the package face-recognition-models keeps its files."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ModelError("real faces need dlib's models: pip install --no-deps face-recognition-models")
    return Path(spec.origin).parent / "models"


@lru_cache(maxsize=1)
def read_tensors(path: Path) -> list[Tensor]:
    """All tensors of a dlib network file, flat, in its order (from the input on).

    Each is stored as the version 2, four dimensions, and raw floats; an integer is a byte that says how many bytes
    of value follow. What lies between tensors is skipped.
    """
    if not path.is_file():
        raise ModelError(f"no file {path}")
    data = path.read_bytes()
    found: list[Tensor] = []
    at = data.find(b"\x01\x02")
    while at >= 0:
        dims, start = [], at + 2
        for _ in range(4):
            value, start = _integer(data, start)
            dims.append(value)
        size = math.prod(dims)
        if all(1 <= d <= 1_000_000 for d in dims) and size >= SMALLEST and start + 4 * size <= len(data):
            tensor = torch.frombuffer(bytearray(data[start : start + 4 * size]), dtype=torch.float32)
            if bool(torch.isfinite(tensor).all()) and float(tensor.abs().max()) < 1e4:
                found.append(tensor)
                at = data.find(b"\x01\x02", start + 4 * size)
                continue
        at = data.find(b"\x01\x02", at + 1)
    return found


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """An integer and where the next thing starts; -1 for what is none."""
    if at >= len(data):
        return -1, at
    count = data[at] & 0x0F
    if not 1 <= count <= 8 or data[at] & 0x70 or at + 1 + count > len(data):
        return -1, at + 1
    value = int.from_bytes(data[at + 1 : at + 1 + count], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + count


def _grow(x: Tensor, size: list[int]) -> Tensor:
    c, h, w = (want - have for want, have in zip(size, x.shape[1:], strict=True))
    return pad(x, (0, w, 0, h, 0, c)) if c or h or w else x
