"""53 D3PO: do comparisons alone, put on every denoising step, beat imitation of the winners and keep up with RL on a learned reward?"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from accord.algorithms import D3PO, GRPO, RAFT
from accord.feedback import Comparison, Task
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import SAMPLING, Tasteful, asked, held_out, oracle, pairs, people, train
from accord.rewards import Reward, Scores
from accord.worlds.portraits import Looks, PromptReader, policy
from accord.worlds.portraits.proxies import read_attributes, stacked

ROUNDS, PAIRS, LR, BETA, CLIP, NOISE, TESTS = 20, 12, 1e-3, 50.0, 0.3, 0.1, 192
DEARER = 1.54
"""D3PO asks the reference about every step: imitation of the winners gets so many more rounds."""
COMMON = replace(SAMPLING, common_start=True, average=True)

CLAIM = Claim(
    name="d3po",
    statement="From comparisons by people of 10 % noise, D3PO's gold exceeds that of imitating the winners, and is not worse than RL on a "
    "reward fitted to as many comparisons.",
    primaries=(Primary("d3po", "winners"), Primary("d3po", "learned", margin="not worse")),
    arms=("base", "oracle", "winners", "learned", "d3po", "unclipped", "placebo"),
    equal=("winners", "learned", "d3po", "placebo"),
    settings=(
        ("rounds x pairs", f"{ROUNDS} x {PAIRS}, winners {round(ROUNDS * DEARER)} x {PAIRS}"),
        ("lr", str(LR)),
        ("beta", str(BETA)),
        ("clip", str(CLIP)),
        ("noise", str(NOISE)),
        ("tests", f"{TESTS} pictures"),
    ),
    first_seed=200,
)


def run(arm: str, seed: int) -> Measures:
    trained = policy(lora=8)
    if arm == "oracle":
        oracle(trained, seed)
    elif arm != "base":
        train(
            algorithm(arm, trained, seed),
            asked(400, seed),
            seed,
            steps=round(ROUNDS * DEARER) if arm == "winners" else ROUNDS,
            batch_size=PAIRS,
            lr=LR,
            inner_epochs=2,
            other=arm == "placebo",
        )
    return held_out(trained, seed, proxy=Tasteful(PromptReader(), seed), n=TESTS, tries=4 if arm == "oracle" else 1)


def algorithm(arm: str, trained: Any, seed: int) -> Any:
    options: Any = {"group_size": 2, "sampling": COMMON}
    if arm == "learned":
        return GRPO(trained, learned(seed), **{**options, "sampling": SAMPLING})
    if arm == "winners":
        return RAFT(trained, Verdicts(seed), reference="base", **options)
    return D3PO(trained, Verdicts(seed), beta=BETA, clip=None if arm == "unclipped" else CLIP, **options)


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
