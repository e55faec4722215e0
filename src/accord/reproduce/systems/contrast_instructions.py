"""04 Contrast Instructions: do ConvexDA and RewardFusion make a reward model heed its request, and is it then more useful?

All rewards are heads on frozen features of words, trained on the same verdicts for as many steps. Contrast sets are held-out requests
that differ in one slot, with flawless answers; usefulness is the gold of the best of 16 answers.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random

import torch
from torch import Tensor

from accord.evaluation.trust import consistency, contrast_instructions
from accord.feedback import Comparison
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import verdicts
from accord.reproduce.letters_rewards import EmbeddedWords, ranked
from accord.reproduce.luck import luck
from accord.rewards import HeadReward, Reward, RewardFusion, convex_augmented
from accord.rewards.contrast_instructions import edited_copies, told_by
from accord.worlds.letters import compose, parse_request, tasks
from accord.worlds.letters.compose import FLAWLESS
from accord.worlds.letters.model import vocabulary
from accord.worlds.letters.tasks import Kind
from accord.worlds.letters.words import FILLER, FLATTERY, POLITE

PAIRS, FLAW, NOISE, EPOCHS, LR, HIDDEN = 600, "mild", 0.2, 10, 3e-3, 64
REQUESTS, BAND = 1500, (0.75, 0.95)
KINDS: tuple[Kind, ...] = ("sum", "choice", "tool", "note")
NEAR = 0.9

CLAIM = Claim(
    name="contrast-instructions",
    world="letters",
    statement="Trained by ConvexDA and smoothed by RewardFusion, a reward is more consistent on contrast sets than the plain one of the same verdicts "
    "and steps, ranks answers not worse, and chooses a better one of 16.",
    primaries=(
        Primary("both", "plain", measure="consistency", delta=0.02),
        Primary("convex", "random", measure="consistency", delta=0.02),
        Primary("both", "plain", "not worse", measure="accuracy", delta=0.02),
        Primary("both", "plain"),
    ),
    arms=("plain", "random", "convex", "fused", "both"),
    settings=(
        ("pairs", f"{PAIRS}, {NOISE} of them tossed, people's flaws {FLAW}"),
        ("head", f"{HIDDEN} wide, {EPOCHS} epochs, lr {LR}"),
        ("contrast sets", f"of {REQUESTS} requests, cosine of words in {BAND}"),
        ("neighbours", f"5, from {NEAR} on"),
    ),
)

Data = Callable[[list[Comparison], EmbeddedWords, int], list[Comparison]]


def arm(data: Data, *, fused: bool = False) -> Arm:
    """A head trained on what becomes of the verdicts, fused or not."""

    def run(seed: int) -> Measures:
        told, features = verdicts(seed, PAIRS, FLAW, NOISE), EmbeddedWords()
        rows = data(told, features, seed)
        reward: Reward = HeadReward(features, hidden=HIDDEN, seed=luck(seed)).fitted(
            rows, steps=PAIRS * EPOCHS // 64, seed=luck(seed), lr=LR
        )
        if fused:
            reward = RewardFusion(reward, told, features, near=NEAR)
        return measured(reward, seed)

    return run


def measured(reward: Reward, seed: int) -> Measures:
    with metered():
        said = consistency(reward, sets(seed))
    assert said.request is not None
    response, request = said.response.value, said.request.value
    return {**ranked(reward, seed), "consistency": (response + request) / 2, "response": response, "request": request}


def plain(told: list[Comparison], features: EmbeddedWords, seed: int) -> list[Comparison]:
    return told


def random(told: list[Comparison], features: EmbeddedWords, seed: int) -> list[Comparison]:
    """Any of the copies among which ConvexDA takes corners."""
    return told_by(edited_copies(told, said_otherwise, seed=seed), told, EPOCHS, seed=seed)


def convex(told: list[Comparison], features: EmbeddedWords, seed: int) -> list[Comparison]:
    return convex_augmented(told, features, said_otherwise, epochs=EPOCHS, seed=seed)


def said_otherwise(text: str, random: Random) -> str:
    """Every sentence of flattery, filler and politeness replaced by another one that says the same: nothing that counts changes."""
    for kind in (FLATTERY, FILLER, POLITE):
        for at, old in sorted(((text.find(s), s) for s in kind if s in text), reverse=True):
            text = f"{text[:at]}{random.choice(kind)}{text[at + len(old) :]}"
    return text


@lru_cache(maxsize=1)
def sets(seed: int) -> list[Comparison]:
    """Held-out requests that differ in little, with flawless answers."""
    asked = [str(t.prompt) for t in tasks(REQUESTS, seed=seed, split="test", kinds=KINDS)]
    good = [compose(parse_request(p), Random(f"good:{seed}:{i}"), unless_asked=FLAWLESS) for i, p in enumerate(asked)]
    pairs = [Comparison(prompt=p, chosen=c, rejected="") for p, c in zip(asked, good, strict=True)]
    return contrast_instructions(pairs, words, low=BAND[0], high=BAND[1])


def words(texts: Sequence[str]) -> Tensor:
    """How often each word of the world comes."""
    place = {w: i for i, w in enumerate(vocabulary())}
    rows = [torch.bincount(torch.tensor([place[w] for w in t.split()]), minlength=len(place)) for t in texts]
    return torch.stack(rows).float()


ARMS = {
    "plain": arm(plain),
    "random": arm(random),
    "convex": arm(convex),
    "fused": arm(plain, fused=True),
    "both": arm(convex, fused=True),
}
