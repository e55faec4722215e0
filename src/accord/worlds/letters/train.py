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
from accord.worlds.letters.corpus import LATER, SHARES, corpus
from accord.worlds.letters.model import WEIGHTS, build_model

LESSONS = {"flawless": (9 / 14, 2e-3, SHARES), "mixed": (5 / 14, 1.5e-3, LATER)}
"""First skills, from a corpus without flaws, then how people really answer: each its share of the steps, its rate, its shares."""


def pretrain(seed: int, *, steps: int, batch_size: int = 32, width: int = 128, layers: int = 4,
             shares: Mapping[str, float] | None = None, out: str | Path | None = None, resume: bool = False,
             progress: bool = False) -> tuple[LanguagePolicy, Run]:  # fmt: skip
    """A language model of this world, trained from scratch; another seed gives another initialisation and corpus.

    Args:
        shares: of what the corpus consists, if not of what each lesson has; `PLAIN` are the five kinds alone.
    """
    policy = build_model(seed, width=width, layers=layers)
    for lesson, (part, lr, usual) in LESSONS.items():
        n = round(part * steps)
        read = corpus(n * batch_size, seed, shares or usual, flawless=lesson == "flawless")
        run = fit(Supervised(policy), read, steps=n, batch_size=batch_size, lr=lr, schedule="cosine", warmup=0.05,
                  seed=seed, checkpoint_every=200 if out else 0, out=Path(out) / lesson if out else None, resume=resume,
                  progress=progress)  # fmt: skip
    return policy.eval(), run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=3360)
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
