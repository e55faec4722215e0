"""Verify real faces with the built-in encoder and write docs/results/faces-orl.json (needs the data folder)."""

import json
import os
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from accord.evaluation import accuracy
from accord.identity import DlibFaces

DATA = Path(os.environ.get("ACCORD_DATA", Path(__file__).parents[2] / "shared" / "data")) / "orl-faces"
THRESHOLD = 0.6


def main() -> None:
    faces, vectors, people = DlibFaces(), [], []
    files = sorted(DATA.glob("s*/*.pgm"))
    for path in files:
        with Image.open(path) as file:
            large = file.convert("RGB").resize(
                (276, 336), Image.Resampling.BICUBIC
            )  # the detector wants faces of 80 pixels
        image = torch.from_numpy(np.asarray(large).copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            vector, found = faces(image)
        if bool(found[0]):
            vectors.append(vector[0])
            people.append(path.parent.name)
    distance = torch.cdist(torch.stack(vectors), torch.stack(vectors))
    same = [(i, j) for i, j in combinations(range(len(people)), 2) if people[i] == people[j]]
    others = [(i, j) for i, j in combinations(range(len(people)), 2) if people[i] != people[j]]
    others = Random(0).sample(others, len(same))
    gaps = torch.tensor(
        [THRESHOLD - float(distance[p]) for p in same] + [float(distance[p]) - THRESHOLD for p in others]
    )
    found_accuracy = accuracy(gaps, [people[i] for i, _ in same + others])
    row = {
        "pictures": len(files),
        "found": len(people),
        "people": len(set(people)),
        "pairs": len(gaps),
        **found_accuracy.row(),
    }
    (Path(__file__).parent / "results" / "faces-orl.json").write_text(json.dumps(row, indent=1) + "\n")
    print(row)


if __name__ == "__main__":
    main()
