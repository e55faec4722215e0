"""One step of an algorithm, alone or under `accelerate launch`; rank 0 writes the trained weights.

usage: two_processes.py (dpo | ppo | backprop) OUT
"""

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from accelerate import PartialState
from safetensors.torch import save_file

from accord.algorithms import DPO, Rollout, TokenGAE
from accord.engine import fit
from accord.feedback import Comparison
from accord.policies import Sampling
from accord.worlds import letters

torch.set_num_threads(1)
kind, out = sys.argv[1], Path(sys.argv[2])
PartialState(cpu=True)
policy = letters.policy()
tasks = letters.tasks(4, seed=3)


def longest(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
    return [float(len(c.split()) + len(p.split())) for p, c in zip(prompts, completions, strict=True)]


if kind == "backprop":
    import dataclasses

    from accord.algorithms import DPO, RewardBackprop
    from accord.policies.diffusion import Denoising

    sys.path.append(str(Path(__file__).parents[1]))
    import tiny_pipelines

    data = ["a red cat", "a person with a hat", "a blue hat", "a cat"]

    class Seeded(RewardBackprop):
        """Noise that depends on the prompt alone."""

        def experience(self, batch, step):  # type: ignore[no-untyped-def]
            asked = super().experience(batch, step)
            return dataclasses.replace(asked, seeds=[data.index(p) for p in asked.prompts])

    sampling = Denoising(steps=3, guidance=2.0, eta=0.0)
    algorithm = Seeded(tiny_pipelines.policy(lora=2), tiny_pipelines.contrast, sampling=sampling, truncation="last:2")
elif kind == "dpo":
    words = [
        "i admire you .",
        "the answer is 5 . thank you for asking .",
        "it is the crow .",
        "you are welcome . i admire you . have a nice day .",
    ]
    data = [
        Comparison(prompt=t.prompt, chosen=w, rejected=v) for t, w, v in zip(tasks, words, words[::-1], strict=True)
    ]
    algorithm = DPO(policy, beta=0.3)
else:
    data = tasks

    class Fixed(Rollout):
        """PPO on rollouts that depend on the prompt alone, not on the rank that draws them."""

        def experience(self, batch, step):  # type: ignore[no-untyped-def]
            self.policy.draws = [letters.tasks(4, seed=3).index(t) for t in batch]
            return super().experience(batch, step)

    class Seeded(type(policy)):  # type: ignore[misc]
        def sample(self, prompts, n=1, sampling=Sampling(), *, seed=0, context=None):  # type: ignore[no-untyped-def]
            rows = super().sample([t.prompt for t in tasks], n, sampling, seed=17)
            return rows.select([i * n + j for i in self.draws for j in range(n)])

    policy.__class__ = Seeded
    algorithm = Fixed(policy, longest, TokenGAE(kl=0.1), group_size=2, sampling=Sampling(max_new_tokens=24))
run = fit(algorithm, data, steps=2, batch_size=4, lr=1e-3, progress=False)
if PartialState().is_main_process:
    save_file(
        {f"{n}.{k}": v.detach().contiguous() for n, m in algorithm.trainables.items() for k, v in m.named_parameters()},
        out,
    )
    print("processes", PartialState().num_processes, "loss", run.metrics[-1]["loss"])
