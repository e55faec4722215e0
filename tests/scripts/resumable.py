"""A real, small GRPO run that resumes itself: resumable.py FOLDER [STEPS]."""

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from safetensors.torch import save_file

from accord.algorithms import GRPO
from accord.engine import fit
from accord.errors import Interrupted
from accord.policies import Sampling
from accord.rewards import standardise
from accord.worlds import letters

torch.set_num_threads(1)
folder = Path(sys.argv[1])
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 12


def short(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
    return [-float(len(c.split())) for c in completions]


policy = letters.policy()
algorithm = GRPO(policy, standardise(short), kl=0.1, group_size=2, sampling=Sampling(max_new_tokens=12))
try:
    fit(algorithm, letters.tasks(20), steps=steps, batch_size=2, lr=1e-4, checkpoint_every=2, ema=0.9, inner_epochs=2,
        out=folder, resume=True, progress=False)  # fmt: skip
except Interrupted as error:
    sys.exit(str(error))
save_file({k: v.detach().contiguous() for k, v in policy.named_parameters()}, folder / "final.safetensors")
