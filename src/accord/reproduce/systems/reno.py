"""69 ReNO: does ascending several rewards in the start noise of a two-step model beat best-of-n at equal compute, unhacked?"""

import torch
from torch import Tensor

from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import OTHER, SAMPLING, GoldGradient, Tasteful, asked, quality
from accord.rewards import Reward, combine, score
from accord.search import noise_optimise
from accord.worlds.portraits import PromptReader, Structure, policy
from accord.worlds.portraits.gold import gold

PROMPTS, ITERATIONS, LR = 16, 50, 3.0
TRIES = 200
"""As many samples cost what the iterations do: by the meter on tuning seed 1000, forward and backward through all."""
FEW = Denoising(steps=2, guidance=1.0)
"""At one step the world's consistency twin draws no portrait that its gold accepts."""
WEIGHTS = {"prompt": 1.0, "structure": 1.0}

CLAIM = Claim(
    name="reno",
    statement="50 iterations of noise optimisation with combined rewards reach more gold than the best of 200 two-step samples "
    "(as much compute), and their structure is not worse than a plain sample's.",
    primaries=(Primary("reno", "best-of-n"), Primary("reno", "base", margin="not worse", measure="structure")),
    arms=("base", "oracle", "best-of-n", "reno", "prompt-only", "structure-only", "free-norm", "multi-step", "placebo"),
    equal=("best-of-n", "reno", "prompt-only", "placebo"),
    settings=(
        ("prompts", str(PROMPTS)),
        ("iterations", str(ITERATIONS)),
        ("lr", str(LR)),
        ("best of", str(TRIES)),
        ("rewards", str(WEIGHTS)),
    ),
)


def run(arm: str, seed: int) -> Measures:
    texts = asked(PROMPTS, seed, "test")
    start = seed + (OTHER if arm == "placebo" else 0)
    if arm == "multi-step":
        images = torch.stack(policy().sample(texts, 1, SAMPLING, seed=start).completions)
    elif arm == "base":
        images = torch.stack(policy("consistency").sample(texts, 1, FEW, seed=start).completions)
    elif arm == "best-of-n":
        images = best(policy("consistency"), texts, rewards("reno", seed), start)
    else:
        found = noise_optimise(policy("consistency"), rewards(arm, seed), texts, sampling=FEW, iterations=ITERATIONS, lr=LR, seed=start,
                               norm_weight=0.0 if arm == "free-norm" else 0.01)  # fmt: skip
        images = found.images
    said = quality(texts, images, rewards("reno", seed), judge=Tasteful(gold, seed))
    # What one reward says of pictures made for the other alone: leave one out.
    alone = {f"{k} reward": quality(texts, images, r, judge=gold)["proxy"] for k, r in parts(seed).items()}
    return {**said, **alone}


def rewards(arm: str, seed: int) -> Reward:
    if arm == "oracle":
        return Tasteful(GoldGradient(), seed)
    kept = {k: r for k, r in parts(seed).items() if arm not in ("prompt-only", "structure-only") or arm == f"{k}-only"}
    return combine(kept, weights={k: WEIGHTS[k] for k in kept})


def parts(seed: int) -> dict[str, Reward]:
    return {"prompt": Tasteful(PromptReader(), seed), "structure": Structure()}


def best(generator: DiffusionPolicy, texts: list[str], reward: Reward, seed: int) -> Tensor:
    """The sample of each prompt that the combined reward likes most."""
    kept: list[Tensor] = []
    values = torch.full((len(texts),), -torch.inf)
    for i in range(TRIES):
        images = torch.stack(generator.sample(texts, 1, FEW, seed=seed + 1000 * i).completions)
        said = score(reward, prompts=texts, completions=images).values.detach()
        kept = (
            list(images)
            if not kept
            else [b if s > v else a for a, b, s, v in zip(kept, images, said, values, strict=True)]
        )
        values = torch.maximum(values, said)
    return torch.stack(kept)
