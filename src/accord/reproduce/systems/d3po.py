"""53 D3PO: do comparisons alone, put on every denoising step, beat imitation of the winners and keep up with RL on a learned reward?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from accord.algorithms import D3PO, GRPO, RAFT
from accord.feedback import Comparison, Task
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Primary
from accord.reproduce.portraits import PRICE, SAMPLING, arm, asked, pairs, people, train, watched
from accord.rewards import Reward, Scores
from accord.worlds.portraits import Looks, PromptReader
from accord.worlds.portraits.proxies import read_attributes, stacked

ROUNDS, PAIRS, LR, BETA, CLIP, NOISE, TESTS = 20, 12, 1e-3, 50.0, 0.3, 0.1, 192
DEARER = 1.54
"""D3PO asks the reference about every step: imitation of the winners gets so many more rounds."""
COMMON = replace(SAMPLING, common_start=True, average=True)

CLAIM = Claim(
    name="d3po",
    world="portraits",
    statement="From comparisons by people of 10 % noise, D3PO's gold exceeds that of imitating the winners, and is not worse than RL on a "
    "reward fitted to as many comparisons.",
    primaries=(Primary("d3po", "winners"), Primary("d3po", "learned", "not worse")),
    arms=("winners", "learned", "d3po", "unclipped"),
    equal=("winners", "learned", "d3po"),
    settings=(
        ("rounds x pairs", f"{ROUNDS} x {PAIRS}, winners {round(ROUNDS * DEARER)} x {PAIRS}"),
        ("lr", str(LR)),
        ("beta", str(BETA)),
        ("clip", str(CLIP)),
        ("noise", str(NOISE)),
        ("tests", f"{TESTS} pictures"),
    ),
)


def taught(make: Callable[[Any, int], Any], rounds: int = ROUNDS) -> Arm:
    """By what `make` makes of a policy and a seed, for so many rounds."""

    def teach(trained: DiffusionPolicy, seed: int) -> None:
        train(make(trained, seed), asked(400, seed), seed, steps=rounds, batch_size=PAIRS, lr=LR, inner_epochs=2,
              evaluate=watched(trained, seed))  # fmt: skip

    return arm(teach, n=TESTS)


def winners(trained: Any, seed: int) -> Any:
    return RAFT(trained, Verdicts(seed), kl=PRICE, group_size=2, sampling=COMMON)


def by_reward(trained: Any, seed: int) -> Any:
    return GRPO(trained, learned(seed), kl=PRICE, group_size=2, sampling=SAMPLING)


def d3po(trained: Any, seed: int, clip: float | None = CLIP) -> Any:
    return D3PO(trained, Verdicts(seed), beta=BETA, clip=clip, group_size=2, sampling=COMMON)


ARMS = {
    "winners": taught(winners, round(ROUNDS * DEARER)),
    "learned": taught(by_reward),
    "d3po": taught(d3po),
    "unclipped": taught(partial(d3po, clip=None)),
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
