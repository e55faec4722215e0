"""53 D3PO: do comparisons alone, put on every denoising step, beat imitation of the winners and keep up with RL on a learned reward?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from accord.algorithms import D3PO, DDPO, RAFT
from accord.feedback import Comparison, Task
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Primary
from accord.reproduce.portraits import SAMPLING, arm, asked, pairs, people, train, watched
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import Reward, Scores
from accord.worlds.portraits import Looks, PromptReader
from accord.worlds.portraits.proxies import read_attributes, stacked

ROUNDS, PAIRS, NOISE = 14, 16, 0.1
LR, LRS = dict.fromkeys(("winners", "learned", "d3po", "unclipped"), 1e-3), (3e-4, 1e-3, 3e-3, 1e-2)
BETA, CLIP, CLIPS, UPDATES = 50.0, 0.01, (0.01, 0.03, 0.1), 8
"""On means over the latent. Eight updates of a pass (pieces of pairs and steps) move log-ratios by hundredths, so that the clip acts."""
DEARER = 1.1
"""D3PO asks the reference about every step: RL on a learned reward gets so many more rounds."""
WINNERS_PASSES = 4
"""Imitation of the winners, by the denoising loss, passes over them so often for as many network calls."""
COMMON = replace(SAMPLING, common_start=True, average=True)
AVERAGED = replace(SAMPLING, average=True)

CLAIM = Claim(
    name="d3po",
    world="portraits",
    statement="From comparisons by people of 10 % noise, D3PO's gold exceeds that of imitating the winners, and is not worse than RL on a "
    "reward fitted to as many comparisons.",
    primaries=(Primary("d3po", "winners"), Primary("d3po", "learned", "not worse")),
    arms=("winners", "learned", "d3po", "unclipped"),
    equal=("winners", "learned", "d3po"),
    settings=(
        ("rounds x pairs", f"{ROUNDS} x {PAIRS}, learned {round(ROUNDS * DEARER)} x {PAIRS}"),
        ("passes over a round", f"2, winners {WINNERS_PASSES}"),
        ("updates a pass", f"{UPDATES}, learned and winners 1"),
        ("lr", f"{LR}, of {LRS}, cosine"),
        ("beta", str(BETA)),
        ("clip", f"{CLIP}, of {CLIPS}, on means over the latent"),
        ("winners", "denoising loss on the sampled latents"),
        ("learned", "DDPO, statistics of the batch"),
        ("noise", str(NOISE)),
    ),
)


def taught(make: Callable[[Any, int], Any], lr: float, *, rounds: int = ROUNDS, **training: Any) -> Arm:
    """By what `make` makes of a policy and a seed, for so many rounds."""

    def teach(trained: DiffusionPolicy, seed: int) -> None:
        options = {"inner_epochs": 2, **training}
        train(make(trained, seed), asked(400, seed), seed, steps=rounds, batch_size=PAIRS, lr=lr,
              evaluate=watched(trained, seed), **options)  # fmt: skip

    return arm(teach)


def winners(trained: Any, seed: int) -> Any:
    return RAFT(trained, Verdicts(seed), group_size=2, sampling=COMMON)


def by_reward(trained: Any, seed: int) -> Any:
    return DDPO(trained, learned(seed), group_size=2, clip=1e-3, sampling=AVERAGED)


def d3po(trained: Any, seed: int, clip: float | None = CLIP) -> Any:
    return D3PO(trained, Verdicts(seed), beta=BETA, clip=clip, group_size=2, sampling=COMMON, steps_at_once=1)


MAKERS: dict[str, Maker] = {
    "winners": partial(taught, winners, inner_epochs=WINNERS_PASSES),
    "learned": partial(taught, by_reward, rounds=round(ROUNDS * DEARER)),
    "d3po": partial(taught, d3po, minibatches=UPDATES),
    "unclipped": partial(taught, partial(d3po, clip=None), minibatches=UPDATES),
}
ARMS = at_best(MAKERS, LR)
TUNING = {
    **at_rates(MAKERS, LRS, only=("winners", "learned", "d3po")),
    **{f"d3po clipped at {c:g}": taught(partial(d3po, clip=c), LR["d3po"], minibatches=UPDATES) for c in CLIPS[1:]},
}


class Verdicts:
    """People compare the two pictures of each prompt: 1 for the winner, 0 for the other."""

    def __init__(self, seed: int) -> None:
        self.people, self.round, self.seed = people(seed, NOISE), 0, seed

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Tensor], **columns: Any) -> list[float]:
        self.round += 1
        first, second = list(completions[0::2]), list(completions[1::2])
        said = self.people.compare(
            [Task(prompt=p) for p in prompts[0::2]], first, second, seed=self.seed * 1000 + self.round
        )
        return [x for c, f in zip(said, first, strict=True) for x in ((1.0, 0.0) if c.chosen is f else (0.0, 1.0))]


@lru_cache(maxsize=1)
def learned(seed: int) -> Reward:
    """Bradley-Terry weights of what the world's readers say, from as many comparisons as D3PO gets."""
    compared = pairs(seed, ROUNDS * PAIRS, noise=NOISE)
    x = (features(compared, "chosen") - features(compared, "rejected")).double()
    spread = x.std(0) + 1e-6

    def loss(w: Any) -> tuple[float, Any]:
        v = torch.tensor(w, requires_grad=True)
        total = -torch.nn.functional.logsigmoid(x / spread @ v).mean() + 1e-2 * v.square().sum()
        total.backward()
        assert v.grad is not None
        return float(total.detach()), v.grad.numpy()

    weights = torch.tensor(minimize(loss, [0.0] * x.shape[1], jac=True).x) / spread

    def reward(*, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        return Scores.of((_features(prompts, completions).double() @ weights).float())

    return reward


def features(compared: list[Comparison], side: str) -> Tensor:
    return _features([c.prompt for c in compared], torch.stack([getattr(c, side) for c in compared]))


@torch.no_grad()
def _features(prompts: Sequence[Any], completions: Any) -> Tensor:
    """How well it fits the prompt, how sound it looks, and what it shows: people may like what no prompt says."""
    images = stacked(completions)
    looks = Looks()(prompts=prompts, completions=images).aspects
    fits = PromptReader()(prompts=prompts, completions=images).values
    shows = [v.exp() for v in read_attributes(images).values()]
    return torch.cat([torch.stack([fits, looks["structure"], looks["appeal"]], 1), *shows], 1)
