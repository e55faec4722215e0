"""42 Skywork-Reward-V2: is a reward better that learns from what two reward models agreed upon than one that learns from a whole wild pool?

The pool comes from four sources: careful people, people most of whose verdicts are chance, people who want it long, and people who like to be flattered. A few
labels were checked by the gold; the judge tosses for every other verdict and likes it long (it is not shown the examples: this one would make nothing of
them). The filters know the checked labels, so a control learns from them too. All rewards are heads on words; each arm takes as many steps as suit it best.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from accord.feedback import Comparison, Task, usable
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_labels import LEARNING, WORDS, asked, ranked, right, taught
from accord.reproduce.luck import luck
from accord.rewards import DualAgreement, Reward, steered
from accord.rewards.features import of_pairs
from accord.rewards.skywork_reward_v2 import Judge, confidences
from accord.worlds.letters import population

REQUESTS, CHECKED, SILVER, POOL = 2400, 300, 200, 600
SIFTING, ROUNDS = 60, 4
SOURCES: tuple[dict[str, Any], ...] = ({}, {"noise": 0.8}, {"bias": {"length": 0.4}}, {"bias": {"flattery": 8.0}})
DOUBTFUL, LIKES = 0.5, {"length": 0.1}
STEPS = {
    "checked": 400,
    "raw": 1600,
    "raw+checked": 1600,
    "raw-part": 400,
    "judge": 1600,
    "gold-only": 800,
    "best-only": 1600,
    "kept": 800,
    "full": 800,
}
GRID = (100, 200, 400, 800, 1600)

CLAIM = Claim(
    name="skywork-reward-v2",
    world="letters",
    statement="What both rewards agreed upon, with what both denied turned round, makes a reward that ranks held-out answers better than the whole wild pool does, alone and "
    "with the checked labels by which both were steered, than what a judge alone lets pass, and not worse than what either reward alone lets pass; "
    "and better than the checked labels do alone.",
    primaries=(
        Primary("full", "raw", measure="accuracy", delta=0.02),
        Primary("full", "raw+checked", measure="accuracy", delta=0.02),
        Primary("full", "judge", measure="accuracy", delta=0.02),
        Primary("full", "gold-only", "not worse", measure="accuracy", delta=0.02),
        Primary("full", "best-only", "not worse", measure="accuracy", delta=0.02),
        Primary("full", "checked", measure="accuracy", delta=0.02),
    ),
    arms=("checked", "raw", "raw+checked", "raw-part", "judge", "gold-only", "best-only", "kept", "full"),
    settings=(("pool", f"{REQUESTS}, of {SOURCES}"), ("checked", str(CHECKED)), ("silver", f"{SILVER}, {POOL} to fetch from, {ROUNDS} rounds"),
              ("judge", f"{DOUBTFUL} tossed, {LIKES}"), ("steps", f"{STEPS}, each of {GRID}"), ("sifting rewards", f"{SIFTING} steps"),
              ("learning", str(LEARNING))),
)  # fmt: skip

Choose = Callable[[int], list[Comparison]]
"""What an arm learns from."""


@lru_cache(maxsize=1)
def wild(seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """A pool of four sources, and the pairs whose labels are checked."""
    tasks, first, second = asked(seed, REQUESTS + CHECKED).shown()
    told = []
    for i, source in enumerate(SOURCES):
        at = slice(i * REQUESTS // len(SOURCES), (i + 1) * REQUESTS // len(SOURCES))
        told += population(10, seed=seed + i, **source).compare(tasks[at], first[at], second[at], seed=seed + i)
    order = torch.randperm(len(told), generator=torch.Generator().manual_seed(seed)).tolist()
    sure = population(1, seed=seed, certainty=1e3, spread=0.0)
    return [told[i] for i in order], sure.compare(tasks[REQUESTS:], first[REQUESTS:], second[REQUESTS:], seed=seed)


def judge_of(seed: int) -> Judge:
    """Somebody who tosses for every other verdict, and likes it long."""
    people = population(1, seed=seed + 7, noise=DOUBTFUL, bias=LIKES)

    def judged(pairs: Sequence[Comparison], shown: object) -> list[bool | None]:
        tasks = [Task(prompt=p.prompt) for p in pairs]
        said = people.compare(tasks, [p.chosen for p in pairs], [p.rejected for p in pairs], seed=seed)
        return [s.chosen == p.chosen for s, p in zip(said, pairs, strict=True)]

    return judged


def sifting(rows: Sequence[Comparison], seed: int) -> Reward:
    return taught(rows, seed, steps=SIFTING, number=5)


@lru_cache(maxsize=1)
def sifters(seed: int, randomness: int) -> tuple[Reward, Reward]:
    """A reward of the checked pairs, and the best of the first stage; randomness: of their training."""
    pool, checked = wild(seed)

    def embed(pairs: Sequence[Comparison]) -> Tensor:
        return sum(of_pairs(WORDS, pairs), torch.zeros(()))

    judge = judge_of(seed)
    silver = [p for p, ok in zip(pool[:SILVER], judge(pool[:SILVER], []), strict=True) if ok]
    found = steered(
        checked,
        silver,
        pool[SILVER : SILVER + POOL],
        train=lambda rows, n: sifting(rows, seed),
        judge=judge,
        embed=embed,
        rounds=ROUNDS,
    )
    return sifting(checked, seed), found.reward


def through(seed: int, *, recycle: bool) -> list[Comparison]:
    both = DualAgreement(*sifters(seed, luck(seed)), judge_of(seed), recycle=recycle)
    return usable([became[0] for became in both(wild(seed)[0])])


def by_one(seed: int, which: int) -> list[Comparison]:
    pool = wild(seed)[0]
    sure = confidences(sifters(seed, luck(seed))[which], pool)
    return [p for p, c in zip(pool, sure.tolist(), strict=True) if c > 0.5]


def by_judge(seed: int) -> list[Comparison]:
    pool = wild(seed)[0]
    return [p for p, ok in zip(pool, judge_of(seed)(pool, []), strict=True) if ok]


FROM: dict[str, Choose] = {
    "checked": lambda seed: wild(seed)[1],
    "raw": lambda seed: wild(seed)[0],
    "raw+checked": lambda seed: [*wild(seed)[0], *wild(seed)[1]],
    "raw-part": lambda seed: wild(seed)[0][: len(through(seed, recycle=False))],
    "judge": by_judge,
    "gold-only": lambda seed: by_one(seed, 0),
    "best-only": lambda seed: by_one(seed, 1),
    "kept": lambda seed: through(seed, recycle=False),
    "full": lambda seed: through(seed, recycle=True),
}


def arm(name: str, steps: int) -> Arm:
    def run(seed: int) -> Measures:
        with metered():
            chosen = FROM[name](seed)
        reward = taught(chosen, seed, steps=steps)
        return {**ranked(reward, seed), "pairs": float(len(chosen)), "labels right": float(right(chosen).mean())}

    return run


ARMS = {name: arm(name, STEPS[name]) for name in FROM}
TUNING = {f"{name} {n} steps": arm(name, n) for name in FROM for n in GRID}
