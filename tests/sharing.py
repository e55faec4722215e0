"""Small runs whose end doesn't depend on how many processes share them, or share out their weights."""

import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from accord.algorithms import DPO, GRPO
from accord.engine import Run, fit
from accord.feedback import Comparison
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group
from accord.worlds.letters import build_model, tasks

ANSWERS = ("i admire you .", "the answer is 5 . thank you for asking .", "it is the crow .",
           "you are welcome . i admire you . have a nice day .")  # fmt: skip
TASKS = tasks(8, seed=3)
PAIRS = [Comparison(prompt=t.prompt, chosen=ANSWERS[i % 4], rejected=ANSWERS[-1 - i % 4]) for i, t in enumerate(TASKS)]


def spelling(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """Another one for nearly every answer."""
    return [float(sum(map(ord, c)) % 7) for c in completions]


def policy(lora: int | None) -> LanguagePolicy:
    """In float64: the order in which processes add up is then no matter of six digits."""
    made = build_model(0, width=56, layers=2).double()
    if lora:
        made.add_lora(lora, "CAUSAL_LM")
    return made


RUNS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "dpo, lora": (lambda: DPO(policy(4), beta=0.3), PAIRS),
    "grpo, lora": (lambda: GRPO(policy(4), spelling, kl=0.1, group_size=2, sampling=Sampling(max_new_tokens=6)), TASKS),
    "dpo, all weights": (lambda: DPO(policy(None), beta=0.3), PAIRS),
}


def train(name: str, algorithm: Any = None, *, stop: int | None = None, **options: Any) -> tuple[Any, Run]:
    """One of them, or an algorithm that goes on with it; stop: let a Ctrl-C come after so many steps."""
    made, rows = RUNS[name]
    algorithm = algorithm or made()

    def measure(step: int) -> dict[str, float]:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)
        with torch.no_grad():
            found = algorithm.policy.likelihood([Group(p.prompt, (p.chosen,)) for p in PAIRS])
        return {"likelihood": float(found.policy.double().sum())}

    run = fit(algorithm, rows, steps=4, batch_size=4, micro_batch_size=2, lr=1e-3, ema=0.5, evaluate=measure,
              evaluate_every=2, select="likelihood", progress=False, **options)  # fmt: skip
    return algorithm, run
