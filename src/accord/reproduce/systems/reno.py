"""69 ReNO: does ascending several rewards in the start noise of a two-step model beat best-of-n at equal compute, unhacked?"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from accord.policies.diffusion import Denoising
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import SAMPLING, GoldGradient, Tasteful, asked, quality
from accord.rewards import Reward, combine, score
from accord.search import noise_optimise
from accord.worlds.portraits import PromptReader, Structure, policy
from accord.worlds.portraits.generator import Kind
from accord.worlds.portraits.gold import gold

PROMPTS, ITERATIONS, LR = 16, 50, 3.0
TRIES = 200
"""As many samples cost what the iterations do: by the meter on tuning seed 1000, forward and backward through all."""
FEW = Denoising(steps=2, guidance=1.0)
"""At one step the world's consistency twin draws no portrait that its gold accepts."""
WEIGHTS = {"prompt": 1.0, "structure": 1.0}

CLAIM = Claim(
    name="reno",
    world="portraits",
    statement="50 iterations of noise optimisation with combined rewards reach more gold than the best of 200 two-step samples "
    "(as much compute), and their structure is not worse than a plain sample's.",
    primaries=(Primary("reno", "best-of-n"), Primary("reno", "base", "not worse", measure="structure")),
    arms=("base", "oracle", "best-of-n", "reno", "prompt-only", "structure-only", "free-norm", "multi-step"),
    equal=("best-of-n", "reno", "prompt-only"),
    settings=(
        ("prompts", str(PROMPTS)),
        ("iterations", str(ITERATIONS)),
        ("lr", str(LR)),
        ("best of", str(TRIES)),
        ("rewards", str(WEIGHTS)),
    ),
)


Draw = Callable[[list[str], int, int], Tensor]
"""A picture of each prompt; the first seed decides what people like, the second is the noise's."""


def drawn(draw: Draw) -> Arm:
    """An arm that draws so."""

    def arm(seed: int) -> Measures:
        texts = asked(PROMPTS, seed, "test")
        images = draw(texts, seed, luck(seed))
        said = quality(texts, images, both(seed), judge=Tasteful(gold, seed))
        # What one reward says of pictures made for the other alone: leave one out.
        alone = {f"{k} reward": quality(texts, images, r, judge=gold)["proxy"] for k, r in parts(seed).items()}
        return {**said, **alone}

    return arm


def plain(texts: list[str], seed: int, start: int, *, kind: Kind = "consistency", sampling: Denoising = FEW) -> Tensor:
    return torch.stack(policy(kind).sample(texts, 1, sampling, seed=start).completions)


def best(texts: list[str], seed: int, start: int) -> Tensor:
    """The sample of each prompt that the combined reward likes most."""
    generator, reward = policy("consistency"), both(seed)
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


def parts(seed: int) -> dict[str, Reward]:
    return {"prompt": Tasteful(PromptReader(), seed), "structure": Structure()}


def only(name: str) -> Callable[[int], Reward]:
    return lambda seed: combine({name: parts(seed)[name]}, weights={name: WEIGHTS[name]})


def both(seed: int) -> Reward:
    return combine(parts(seed), weights=WEIGHTS)


ARMS = {
    "base": drawn(plain),
    "oracle": drawn(ascended(lambda seed: Tasteful(GoldGradient(), seed))),
    "best-of-n": drawn(best),
    "reno": drawn(ascended(both)),
    "prompt-only": drawn(ascended(only("prompt"))),
    "structure-only": drawn(ascended(only("structure"))),
    "free-norm": drawn(ascended(both, norm_weight=0.0)),
    "multi-step": drawn(partial(plain, kind="unet", sampling=SAMPLING)),
}
