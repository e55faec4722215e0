"""15 Secrets of RLHF II: does repairing what reward models vote to be wrong beat learning from all labels, and does a gradient taken a step ahead keep a
reward useful where the policy has moved?

Some people want the opposite of a good answer, and some verdicts are tossed for: about a third of the labels is wrong. All rewards are heads on words; each arm
passes over the data as often as suits it best. The policy has moved to the best 4 of 16 answers by the plain reward; nobody labels those.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from accord.engine import fit
from accord.feedback import Comparison
from accord.policies.base import Group
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_labels import (
    LEARNING,
    OF,
    WORDS,
    asked,
    head,
    held_out,
    ranked,
    right,
    taught,
)
from accord.reproduce.letters_rewards import concordance
from accord.reproduce.luck import luck
from accord.rewards import Committee, ContrastiveFitting, MetaFitting, Reward, StrengthFitting, repaired, voted
from accord.rewards.fitting import RewardFitting
from accord.worlds.annotators import Population
from accord.worlds.letters import gold, population, spurious

REQUESTS, NOISE, CONTRARY = 1500, 0.2, 5
VOTERS, VOTING, FLIP, SOFT = 10, {"epochs": 1, "lr": 1e-2}, 0.2, 0.2
PASSES = {"plain": 20, "margin": 20, "flip": 80, "flip-margin": 80, "soft-margin": 20, "contrast": 20}
GRID = (5, 10, 20, 40, 80)
BEFORE, MORE, ETA, SHIFTED, PROMPTS = 10, 4, 10.0, 4, 100
RATE, RATES = {"longer": 3e-3, "meta": 1e-3}, (3e-4, 1e-3, 3e-3, 1e-2)
"""Passes of the plain reward, after which some more still help it; and the rates of those."""

CLAIM = Claim(
    name="secrets-rlhf-rm",
    world="letters",
    statement="Flipping the labels that ten voters find weakest, with every label's strength as its margin, ranks held-out answers better than learning from all "
    "labels alike; a contrast of features does too; and further steps whose gradient is taken a step ahead order the answers of a policy that has moved better "
    "than as many plain ones at the rate that suits them best, which cost about a quarter less.",
    primaries=(
        Primary("flip-margin", "plain", measure="accuracy", delta=0.02),
        Primary("contrast", "plain", measure="accuracy", delta=0.02),
        Primary("meta", "longer", measure="shifted", delta=0.02),
    ),
    arms=("plain", "margin", "flip", "flip-margin", "soft-margin", "contrast", "voters", "longer", "meta"),
    settings=(("pairs", str(REQUESTS)), ("people", f"{NOISE} tossed, every {CONTRARY}th person contrary"), ("passes", f"{PASSES}, each of {GRID}"),
              ("learning", str(LEARNING)), ("voters", f"{VOTERS} linear heads, {VOTING}"), ("flip, soft", f"{FLIP}, {SOFT}"),
              ("contrast", "difference, SimCSE, beta 0.1"), ("ahead, longer", f"after {BEFORE} passes {MORE} more, rates {RATE}, each of {RATES}"), ("ahead", f"eta {ETA}, {SHIFTED} answers")),
)  # fmt: skip

Learn = Callable[[Sequence[Comparison], int, int], tuple[Reward, Measures]]
"""From labels, a seed and passes to a reward, and what else is measured of it."""


def labels(seed: int) -> list[Comparison]:
    """Verdicts of people of whom some want the opposite."""
    people = population(20, seed=seed, noise=NOISE).people
    odd = [
        replace(p, weights={a: -w for a, w in p.weights.items()}) if i % CONTRARY == 0 else p
        for i, p in enumerate(people)
    ]
    return Population(odd, gold, spurious).compare(*asked(seed, REQUESTS).shown(), seed=seed)


def arm(learn: Learn, passes: int) -> Arm:
    def run(seed: int) -> Measures:
        with metered():
            told = labels(seed)
        reward, more = learn(told, seed, passes)
        return {**ranked(reward, seed), "shifted": moved(reward, seed), **more}

    return run


def plain(told: Sequence[Comparison], seed: int, passes: int) -> tuple[Reward, Measures]:
    return taught(told, seed, epochs=passes), {"labels right": float(right(told).mean())}


def electorate(told: Sequence[Comparison], seed: int) -> Committee:
    return Committee(WORDS, VOTERS, seed=luck(seed)).fitted(told, **{**LEARNING, **VOTING})


def voters(told: Sequence[Comparison], seed: int, passes: int) -> tuple[Reward, Measures]:
    """Their mean: what the votes know without being used."""
    return electorate(told, seed), {}


def mending(told: Sequence[Comparison], seed: int, passes: int, **options: Any) -> tuple[Reward, Measures]:
    known = voted(told, [electorate(told, seed)])
    mended, truth = repaired(known, **options), right(told)
    reward = head(seed)
    fit(StrengthFitting(reward), mended, epochs=passes, seed=luck(seed), progress=False, **LEARNING)
    votes = torch.tensor([float(p.columns["voted"]) for p in known])
    auc = (votes[truth == 1][:, None] > votes[truth == 0][None]).float().mean()
    return reward, {
        "labels right": float(right(mended).mean()),
        "auc": float(auc),
        "strength": float(votes.abs().mean()),
    }


def contrast(told: Sequence[Comparison], seed: int, passes: int) -> tuple[Reward, Measures]:
    reward = head(seed)
    fit(ContrastiveFitting(reward, beta=0.1), told, epochs=passes, seed=luck(seed), progress=False, **LEARNING)
    return reward, {}


def going_on(
    told: Sequence[Comparison], seed: int, passes: int, *, rate: float, eta: float = 0.0
) -> tuple[Reward, Measures]:
    """The plain reward after some passes more on the same pairs, their gradient taken a step ahead, or none."""
    reward = taught(told, seed, epochs=BEFORE)
    learner = MetaFitting(reward, shifted(reward, seed), eta=eta) if eta else RewardFitting(reward)
    fit(learner, told, epochs=passes, seed=luck(seed), progress=False, **{**LEARNING, "lr": rate})
    return reward, {}


def shifted(reward: Reward, seed: int) -> list[Group]:
    """Answers of a policy that has moved to what a reward likes: the best 4 of 16 to some training requests, unlabelled."""
    drawn = asked(seed, PROMPTS, OF)
    rows = drawn.scored(reward).topk(SHIFTED, 1).indices.tolist()
    groups = [
        Group(drawn.prompts[i * OF], tuple(dict.fromkeys(drawn.completions[i * OF + j] for j in row)))
        for i, row in enumerate(rows)
    ]
    return [g for g in groups if len(g.completions) == SHIFTED]


@lru_cache(maxsize=1)
def best(seed: int, randomness: int) -> Tensor:
    """The places of the answers of such a policy among the held-out ones; randomness: that of the plain reward."""
    with metered():
        reward = taught(labels(seed), seed, epochs=PASSES["plain"])
    return held_out(seed)[0].scored(reward).topk(SHIFTED, 1).indices


def moved(reward: Reward, seed: int) -> float:
    """How often a reward orders two of those as the gold does."""
    replies, true = held_out(seed)
    places = best(seed, luck(seed))
    return concordance(replies.scored(reward).gather(1, places), true.gather(1, places))


HOW: dict[str, Learn] = {
    "plain": plain,
    "margin": mending,
    "flip": partial(mending, flip=FLIP, margin=False),
    "flip-margin": partial(mending, flip=FLIP),
    "soft-margin": partial(mending, soften=SOFT),
    "contrast": contrast,
}
AHEAD: dict[str, Callable[..., tuple[Reward, Measures]]] = {"longer": going_on, "meta": partial(going_on, eta=ETA)}
ARMS = {
    **{name: arm(learn, PASSES[name]) for name, learn in HOW.items()},
    "voters": arm(voters, 0),
    **{name: arm(partial(learn, rate=RATE[name]), MORE) for name, learn in AHEAD.items()},
}
TUNING = {
    **{f"{name} {n} passes": arm(learn, n) for name, learn in HOW.items() for n in GRID},
    **{f"{name} rate {rate}": arm(partial(learn, rate=rate), MORE) for name, learn in AHEAD.items() for rate in RATES},
}
