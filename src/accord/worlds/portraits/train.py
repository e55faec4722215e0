"""Train the world's models: ``python -m accord.worlds.portraits.train STAGE``, in the order of STAGES, each resumable."""

import argparse
from pathlib import Path
from typing import Any

import torch

from accord.engine import derive, fit
from accord.policies.loading import cache_folder
from accord.worlds.portraits.model import build_vae
from accord.worlds.portraits.people import People
from accord.worlds.portraits.render import render
from accord.worlds.portraits.teach import Reconstruct

STAGES = ("vae",)


def vae(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The autoencoder, with its latents' scale."""
    model: Any = build_vae(seed)
    fit(Reconstruct(model), range(steps * 16), steps=steps, batch_size=16, lr=1.5e-3, schedule="cosine", warmup=0.02, ema=0.998, seed=seed,
        out=run, resume=True, checkpoint_every=250)  # fmt: skip
    with torch.no_grad():
        images = render(People.draw(256, derive(seed, purpose="scale"))).image
        spread = model.encode(images * 2 - 1).latent_dist.mean.std()
    model.register_to_config(scaling_factor=round(1 / float(spread), 4))
    model.to(memory_format=torch.contiguous_format).half().save_pretrained(out / "vae")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument(
        "--out", type=Path, default=cache_folder() / "portraits" / "weights", help="pipeline folder to write"
    )
    parser.add_argument("--runs", type=Path, default=cache_folder() / "portraits" / "runs", help="resumable runs")
    args = parser.parse_args()
    globals()[args.stage](args.runs / args.stage, args.out, steps=args.steps)


if __name__ == "__main__":
    main()
