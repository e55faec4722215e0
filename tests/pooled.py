"""Two steps of three algorithms that take the same steps on however many processes."""

import dataclasses
from pathlib import Path
from typing import Any

from accelerate import PartialState
from safetensors.torch import save_file

import tiny_pipelines
from accord.algorithms import DPO, RewardBackprop, Rollout, TokenGAE
from accord.engine import fit
from accord.feedback import Comparison
from accord.policies import Denoising, LanguagePolicy, Sampling
from accord.worlds import letters

tasks = letters.tasks(4, seed=3)
captions = ["a red cat", "a person with a hat", "a blue hat", "a cat"]
words = [
    "i admire you .",
    "the answer is 5 . thank you for asking .",
    "it is the crow .",
    "you are welcome . i admire you . have a nice day .",
]
pairs = [Comparison(prompt=t.prompt, chosen=w, rejected=v) for t, w, v in zip(tasks, words, words[::-1], strict=True)]


def longest(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [float(len(c.split()) + len(p.split())) for p, c in zip(prompts, completions, strict=True)]


class Seeded(RewardBackprop):
    """Noise that depends on the prompt alone."""

    def experience(self, batch, step):  # type: ignore[no-untyped-def]
        asked = super().experience(batch, step)
        return dataclasses.replace(asked, seeds=[captions.index(p) for p in asked.prompts])


class Fixed(Rollout):
    """PPO on rollouts that depend on the prompt alone, not on the rank that draws them."""

    def experience(self, batch, step):  # type: ignore[no-untyped-def]
        self.policy.draws = [tasks.index(t) for t in batch]
        return super().experience(batch, step)


class Known(LanguagePolicy):
    """Draws for all prompts, and gives those of the asked ones."""

    def sample(self, prompts, n=1, sampling=Sampling(), *, seed=0, context=None):  # type: ignore[no-untyped-def]
        rows = super().sample([t.prompt for t in tasks], n, sampling, seed=17)
        return rows.select([i * n + j for i in self.draws for j in range(n)])


def ppo() -> Any:
    policy = letters.policy()
    policy.__class__ = Known
    return Fixed(policy, longest, TokenGAE(kl=0.1), group_size=2, sampling=Sampling(max_new_tokens=24))


def backprop() -> Any:
    sampling = Denoising(steps=3, guidance=2.0, eta=0.0)
    return Seeded(tiny_pipelines.policy(lora=2), tiny_pipelines.contrast, sampling=sampling, truncation="last:2")


def train(out: Path) -> None:
    """The first process writes the trained weights into a folder."""
    for kind, algorithm, data in (
        ("dpo", DPO(letters.policy(), beta=0.3), pairs),
        ("ppo", ppo(), tasks),
        ("backprop", backprop(), captions),
    ):
        fit(algorithm, data, steps=2, batch_size=4, lr=1e-3, progress=False)
        if PartialState().is_main_process:
            trained = {f"{n}.{k}": v for n, m in algorithm.trainables.items() for k, v in m.named_parameters()}
            save_file({k: v.detach().contiguous() for k, v in trained.items()}, out / kind)
