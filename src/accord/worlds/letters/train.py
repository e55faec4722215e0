"""Pretrain the world's language model: ``python -m accord.worlds.letters.train`` makes the shipped weights again."""

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from accord.algorithms import Supervised
from accord.engine import Run, fit
from accord.policies import LanguagePolicy
from accord.worlds.letters.corpus import SHARES, corpus
from accord.worlds.letters.model import WEIGHTS, build_model


def pretrain(seed: int, *, steps: int, batch_size: int = 64, width: int = 128, layers: int = 4, lr: float = 2.5e-3,
             shares: Mapping[str, float] = SHARES, out: str | Path | None = None, resume: bool = False,
             progress: bool = False) -> tuple[LanguagePolicy, Run]:  # fmt: skip
    """A language model of this world, trained from scratch; another seed gives another initialisation and corpus.

    Args:
        shares: of what the corpus consists; `PLAIN` are the five kinds alone.
    """
    policy = build_model(seed, width=width, layers=layers)
    run = fit(Supervised(policy), corpus(steps * batch_size, seed, shares), steps=steps, batch_size=batch_size, lr=lr,
              schedule="cosine", warmup=0.05, seed=seed, checkpoint_every=200 if out else 0, out=out, resume=resume,
              progress=progress)  # fmt: skip
    return policy.eval(), run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="model folder to write")
    parser.add_argument(
        "--run", type=Path, default=Path(tempfile.gettempdir()) / "accord-letters", help="resumable run"
    )
    args = parser.parse_args()
    policy, run = pretrain(args.seed, steps=args.steps, out=args.run, resume=True, progress=True)
    policy.model.to(torch.float16)  # half the size; loaded as float32
    policy.save(args.out)
    shutil.rmtree(args.run)
    print(f"loss {run.metrics[-1]['loss']:.4f} nats a token; weights in {args.out}")


if __name__ == "__main__":
    main()
