"""Every kind of training on tiny models, by name: what is trained, on which rows, with which weights it begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tiny_pipelines
from accord.algorithms import DPO, GRPO, KTO, PPO, RAFT, AlignProp, DiffusionDPO, SimPO, Supervised
from accord.feedback import Comparison, Example, Label, Rating
from accord.policies import Denoising, Sampling
from accord.rewards import BradleyTerry
from accord.rewards.fitting import RewardFitting

from .adapters import STARTS, moved
from .architectures import saved

TEXTS = (
    ("what is 2 plus 3 ?", " the answer is 5 .", " 4"),
    ("Paris is", " the capital of France, it is", " the quick brown fox"),
    ("You are", " a helpful assistant.", " user"),
    ("the weather in", " Paris", " France is what"),
)
PAIRS = [Comparison(prompt=p, chosen=c, rejected=r) for p, c, r in TEXTS]
LABELS = [Label(prompt=p.prompt, completion=p.chosen, label=i % 2 == 0) for i, p in enumerate(PAIRS)]
EXAMPLES = [Example(prompt=p.prompt, completion=p.chosen) for p in PAIRS]
RATINGS = [Rating(prompt=p.prompt, completion=p.chosen, aspects={"overall": float(i)}) for i, p in enumerate(PAIRS)]
PICTURES = [Comparison(prompt=p, chosen=tiny_pipelines.picture(i), rejected=tiny_pipelines.picture(i + 9))
            for i, p in enumerate(("a red cat", "a person with a hat", "a blue hat", "a cat"))]  # fmt: skip
SHORT = Sampling(max_new_tokens=6)
STEPS = Denoising(steps=3, guidance=2.0)


def length(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


def language(
    made: Callable[[Any], Any], start: str = "a new LoRA", architecture: str = "gpt2"
) -> Callable[[Path], Any]:
    return lambda models: made(STARTS[start](architecture, models))


RECIPES: dict[str, tuple[Callable[[Path], Any], list[Any]]] = {
    "dpo": (language(lambda p: DPO(p)), PAIRS),
    "dpo, all weights": (language(lambda p: DPO(p), "all weights", "llama"), PAIRS),
    "simpo over an SFT adapter": (language(lambda p: SimPO(p), "an SFT adapter", "cohere"), PAIRS),
    "kto": (language(KTO), LABELS),
    "sft": (language(Supervised, architecture="mixtral"), EXAMPLES),
    "grpo": (language(lambda p: GRPO(p, length, kl=0.1, group_size=2, sampling=SHORT)), PAIRS),
    "raft": (language(lambda p: RAFT(p, length, group_size=2, sampling=SHORT, unfinished="keep")), PAIRS),
    "ppo": (language(lambda p: PPO(p, length, kl=0.1, sampling=SHORT), architecture="llama"), PAIRS),
    "reward, pairs": (lambda m: RewardFitting(BradleyTerry.load(saved("llama", m), lora=4)), PAIRS),
    "reward, ratings": (lambda m: RewardFitting(moved(BradleyTerry.load(saved("gpt2", m)))), RATINGS),
    "diffusion dpo": (lambda m: DiffusionDPO(tiny_pipelines.policy("sd", lora=2)), PICTURES),
    "pictures by grpo": (lambda m: GRPO(tiny_pipelines.policy("sd", lora=2), tiny_pipelines.brightness, group_size=2, sampling=STEPS),
                         [p.prompt for p in PICTURES]),
    "alignprop": (lambda m: AlignProp(tiny_pipelines.policy("sd", lora=2), tiny_pipelines.contrast, sampling=STEPS), [p.prompt for p in PICTURES]),
}  # fmt: skip
"""How each is made of the folder with the models, and its rows."""


def trained(algorithm: Any) -> dict[str, Tensor]:
    """Copies of all weights that train."""
    return {
        f"{part}.{n}": p.detach().clone()
        for part, m in algorithm.trainables.items()
        for n, p in m.named_parameters()
        if p.requires_grad
    }


def gradient(algorithm: Any, *pieces: Any) -> Tensor:
    """Of the sum of the pieces' losses, over all that trains, as one vector."""
    weights = [p for m in algorithm.trainables.values() for p in m.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in weights]
    for piece in pieces:
        for t, g in zip(total, torch.autograd.grad(algorithm(piece).sum, weights, allow_unused=True), strict=True):
            if g is not None:
                t += g
    return torch.cat([t.flatten() for t in total])
