"""Draw what `accord demo portraits` did, from its run's folder: ``python docs/demo.py RUN`` writes results/demo-portraits.png."""

import json
import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

COLUMNS = 8


def main(run: Path) -> None:
    measured = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    first, last = measured[0], measured[-1]
    figure = Figure(figsize=(9.2, 2.8), layout="constrained")
    axes = figure.subplots(2, COLUMNS + 1)
    for row, (name, found) in enumerate((("one picture learned", first), ("then rewards", last))):
        folder = run / "samples" / f"{found['step']:06d}"
        axes[row, 0].imshow(plt.imread(run / "reference.png")) if row == 0 else None
        axes[row, 1].set_title(f"{name}: gold {found['reward/gold']:.2f}", fontsize=8, loc="left")
        for axis, picture in zip(axes[row, 1:], sorted(folder.glob("*.png")), strict=False):
            axis.imshow(plt.imread(picture))
    axes[0, 0].set_title("the picture", fontsize=8, loc="left")
    wishes = [json.loads(line)["prompt"] for line in (folder.parent / f"{folder.name}.jsonl").read_text().splitlines()]
    for axis, wish in zip(axes[1, 1:], wishes, strict=False):
        said = textwrap.fill(str(wish).partition(", ")[2], 22)
        axis.text(0.5, -0.04, said, fontsize=5.5, ha="center", va="top", transform=axis.transAxes)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(Path(__file__).parent / "results" / "demo-portraits.png", dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
