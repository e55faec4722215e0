"""Pretrain the world's language model: ``python -m accord.worlds.letters.train`` makes the shipped weights again."""

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from accord.algorithms import Supervised
from accord.engine import Run, fit
from accord.policies import LanguagePolicy
from accord.worlds.letters.corpus import LATER, SHARES, corpus
from accord.worlds.letters.model import WEIGHTS, build_model


class Lesson(NamedTuple):
    """A part of pretraining: its steps, its rate, of what its corpus consists, and whether that is without flaws."""

    steps: int
    lr: float
    shares: Mapping[str, float]
    flawless: bool


LESSONS = (Lesson(2160, 2e-3, SHARES, flawless=True), Lesson(1200, 1.5e-3, LATER, flawless=False))
"""First skills, from replies without flaws, and then how people really answer."""
WHOLE = sum(lesson.steps for lesson in LESSONS)


def pretrain(seed: int, *, steps: int, batch_size: int = 32, width: int = 128, layers: int = 4,
             shares: Mapping[str, float] | None = None, out: str | Path | None = None, resume: bool = False,
             progress: bool = False) -> tuple[LanguagePolicy, Run]:  # fmt: skip
    """A language model of this world, trained from scratch; another seed gives another initialisation and corpus.

    Args:
        shares: of what the corpus consists, if not of what each lesson has; `PLAIN` are the five kinds alone.
    """
    policy = build_model(seed, width=width, layers=layers)
    for number, lesson in enumerate(LESSONS):
        n = round(lesson.steps * steps / WHOLE)
        read = corpus(n * batch_size, seed, shares or lesson.shares, flawless=lesson.flawless)
        run = fit(Supervised(policy), read, steps=n, batch_size=batch_size, lr=lesson.lr, schedule="cosine", warmup=0.05,
                  seed=seed, checkpoint_every=200 if out else 0, out=Path(out) / str(number) if out else None,
                  resume=resume, progress=progress)  # fmt: skip
    return policy.eval(), run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=WHOLE)
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
