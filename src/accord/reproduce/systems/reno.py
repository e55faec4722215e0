"""69 ReNO: does ascending several rewards in the start noise of a two-step model beat best-of-n at equal compute, unhacked?"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from accord.engine import derive
from accord.policies.diffusion import Denoising
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import SAMPLING, Tasteful, asked, liked, quality
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import Reward, score
from accord.search import noise_optimise
from accord.worlds.portraits import policy
from accord.worlds.portraits.generator import Kind
from accord.worlds.portraits.gold import gold

PROMPTS, ITERATIONS = 24, 50
"""Six seeds have 144 prompts, each with the same start noise in all arms."""
LR, LRS = (
    {"reno": 20.0, "prompt-only": 20.0, "structure-only": 20.0, "free-norm": 20.0},
    (1.0, 3.0, 6.0, 10.0, 20.0, 40.0, 80.0),
)
TRIES = 150
"""As many samples cost what the iterations do, forward and backward."""
FEW = Denoising(steps=2, guidance=1.0)
"""At one step the world's consistency twin draws no portrait that its gold accepts."""

CLAIM = Claim(
    name="reno",
    world="portraits",
    statement=f"{ITERATIONS} iterations of noise optimisation with combined rewards reach more gold than the best of {TRIES} two-step samples "
    "(as much compute), and their structure is not worse than a plain sample's.",
    primaries=(Primary("reno", "best-of-n"), Primary("reno", "base", "not worse", measure="structure")),
    arms=("base", "best-of-n", "reno", "prompt-only", "structure-only", "free-norm", "multi-step"),
    equal=("best-of-n", "reno", "prompt-only"),
    settings=(
        ("prompts", str(PROMPTS)),
        ("iterations", str(ITERATIONS)),
        ("lr", f"{LR}, of {LRS}"),
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
        images = torch.stack(
            generator.sample(texts, 1, FEW, seed=derive(start, i, purpose="tries") % 2**31 if i else start).completions
        )
        said = score(reward, prompts=texts, completions=images).values.detach()
        kept = [b if s > v else a for a, b, s, v in zip(kept or images, images, said, values, strict=True)]
        values = torch.maximum(values, said)
    return torch.stack(kept)


def ascended(reward: Callable[[int], Reward], lr: float, norm_weight: float = 0.01) -> Arm:
    """By the reward that is made of a seed, in the start noise."""

    def draw(texts: list[str], seed: int, start: int) -> Tensor:
        return noise_optimise(policy("consistency"), reward(seed), texts, sampling=FEW, iterations=ITERATIONS, lr=lr,
                              seed=start, norm_weight=norm_weight, recompute=False).images  # fmt: skip

    return drawn(draw)


def only(name: str) -> Callable[[int], Reward]:
    return lambda seed: liked(seed).rewards[name]


MAKERS: dict[str, Maker] = {
    "reno": partial(ascended, liked),
    "prompt-only": partial(ascended, only("prompt")),
    "structure-only": partial(ascended, only("structure")),
    "free-norm": partial(ascended, liked, norm_weight=0.0),
}
ARMS = {
    "base": drawn(plain),
    "best-of-n": drawn(best),
    **at_best(MAKERS, LR),
    "multi-step": drawn(partial(plain, kind="unet", sampling=SAMPLING)),
}
TUNING = at_rates(MAKERS, LRS, only=("reno",))
