"""69 ReNO: does ascending several rewards in the start noise of a two-step model beat best-of-n at equal compute, unhacked?"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from accord.policies.diffusion import Denoising
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import SAMPLING, Tasteful, asked, liked, quality
from accord.rewards import Reward, score
from accord.search import noise_optimise
from accord.worlds.portraits import policy
from accord.worlds.portraits.generator import Kind
from accord.worlds.portraits.gold import gold

PROMPTS, ITERATIONS, LR = 24, 50, 3.0
"""Six seeds have 144 prompts, each with the same start noise in all arms."""
TRIES = 200
"""As many samples cost what the iterations do: by the meter on tuning seed 1000, forward and backward through all."""
FEW = Denoising(steps=2, guidance=1.0)
"""At one step the world's consistency twin draws no portrait that its gold accepts."""

CLAIM = Claim(
    name="reno",
    world="portraits",
    statement="50 iterations of noise optimisation with combined rewards reach more gold than the best of 200 two-step samples "
    "(as much compute), and their structure is not worse than a plain sample's.",
    primaries=(Primary("reno", "best-of-n"), Primary("reno", "base", "not worse", measure="structure")),
    arms=("base", "best-of-n", "reno", "prompt-only", "structure-only", "free-norm", "multi-step"),
    equal=("best-of-n", "reno", "prompt-only"),
    settings=(
        ("prompts", str(PROMPTS)),
        ("iterations", str(ITERATIONS)),
        ("lr", str(LR)),
        ("best of", str(TRIES)),
        ("rewards", "attribute reader, told of the taste, and structure"),
    ),
)


Draw = Callable[[list[str], int, int], Tensor]
"""A picture of each prompt; the first seed decides what people like, the second is the noise's."""


def drawn(draw: Draw) -> Arm:
    """An arm that draws so."""

    def arm(seed: int) -> Measures:
        texts = asked(PROMPTS, seed, "test")
        images = draw(texts, seed, luck(seed))
        said = quality(texts, images, liked(seed), judge=Tasteful(gold, seed))
        # What one reward says of pictures made for the other alone: leave one out.
        alone = {f"{k} reward": quality(texts, images, r, judge=gold)["proxy"] for k, r in liked(seed).rewards.items()}
        return {**said, **alone}

    return arm


def plain(texts: list[str], seed: int, start: int, *, kind: Kind = "consistency", sampling: Denoising = FEW) -> Tensor:
    return torch.stack(policy(kind).sample(texts, 1, sampling, seed=start).completions)


def best(texts: list[str], seed: int, start: int) -> Tensor:
    """The sample of each prompt that the combined reward likes most."""
    generator, reward = policy("consistency"), liked(seed)
    kept: list[Tensor] = []
    values = torch.full((len(texts),), -torch.inf)
    for i in range(TRIES):
        images = torch.stack(generator.sample(texts, 1, FEW, seed=start + 1000 * i).completions)
        said = score(reward, prompts=texts, completions=images).values.detach()
        kept = [b if s > v else a for a, b, s, v in zip(kept or images, images, said, values, strict=True)]
        values = torch.maximum(values, said)
    return torch.stack(kept)


def ascended(reward: Callable[[int], Reward], norm_weight: float = 0.01) -> Draw:
    """By the reward that is made of a seed, in the start noise."""

    def draw(texts: list[str], seed: int, start: int) -> Tensor:
        return noise_optimise(policy("consistency"), reward(seed), texts, sampling=FEW, iterations=ITERATIONS, lr=LR,
                              seed=start, norm_weight=norm_weight).images  # fmt: skip

    return draw


def only(name: str) -> Callable[[int], Reward]:
    return lambda seed: liked(seed).rewards[name]


ARMS = {
    "base": drawn(plain),
    "best-of-n": drawn(best),
    "reno": drawn(ascended(liked)),
    "prompt-only": drawn(ascended(only("prompt"))),
    "structure-only": drawn(ascended(only("structure"))),
    "free-norm": drawn(ascended(liked, norm_weight=0.0)),
    "multi-step": drawn(partial(plain, kind="unet", sampling=SAMPLING)),
}
