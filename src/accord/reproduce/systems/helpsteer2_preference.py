"""95 HelpSteer2-Preference: ratings first, then preferences weighed by their strength: is that better than either alone?

Heads on frozen features of the base policy's answers. The same people rate both answers of a pair, each on a scale that is a little their own,
and say how much they prefer which. All arms see both passes' steps: what learns from one kind alone sees it twice as long.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from random import Random

import torch

from accord.feedback import Comparison, Rating
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_people import ANSWERS, REQUESTS, pool
from accord.reproduce.luck import luck
from accord.rewards import HeadReward
from accord.rewards.fitting import FitOptions
from accord.rewards.helpsteer2_preference import rated_then_compared, strength_of
from accord.worlds.letters.words import ASPECTS

PAIRS, RATERS, VOTERS = 600, 3, 5
DRIFT, NOISE, WORTH, STEP = 0.5, 0.8, 12.0, 2.0
"""Of a person's ratings from 0 to 4: how far their scale lies off, how far each rating does; log-odds of all of gold, and how many make a vote stronger."""
EPOCHS, BATCH, HIDDEN = 12, 64, 64
LR = {"ratings": 3e-3, "plain": 3e-4, "scaled": 3e-4, "both-scaled": 1e-4}
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""What each arm's rate is chosen from, that on preferences after ratings have been learned as they are alone; an arm that no primary compares takes that of
the arm it is like."""

CLAIM = Claim(
    name="helpsteer2-preference",
    world="letters",
    statement="A reward that learned ratings first and then preferences weighed by their strength orders clean pairs better than either alone, and "
    "weighing by strength is better than not.",
    primaries=(
        Primary("both-scaled", "scaled", delta=0.02),
        Primary("both-scaled", "ratings", delta=0.02),
        Primary("scaled", "plain", delta=0.02),
    ),
    seeds=16,
    first_seed=430,
    arms=("ratings", "plain", "margin", "scaled", "both-plain", "both-margin", "both-scaled", "beyond"),
    settings=(("pairs", f"{PAIRS}, each answer rated by {RATERS}, each pair compared by {VOTERS}"), ("lr, each of", f"{LR} {RATES}"), ("epochs of each stage, batch", f"{EPOCHS} {BATCH}"),
              ("scale and noise of ratings", f"{DRIFT} {NOISE}"), ("a stronger vote", f"{STEP} log-odds"))
)  # fmt: skip


@lru_cache(maxsize=1)
def said(seed: int) -> tuple[list[Rating], list[Comparison]]:
    """What people say of pairs of answers to training requests: ratings of both, and those preferences that are clear enough."""
    table = pool(seed)
    gold = sum((w * table.said[a] for a, w in ASPECTS.items()), torch.zeros(len(table.prompts))).tolist()
    random = Random(f"helpsteer:{seed}")
    ratings, pairs = [], []
    for _ in range(PAIRS):
        at = ANSWERS * random.randrange(REQUESTS)
        i, j = (at + k for k in random.sample(range(ANSWERS), 2))
        for k in (i, j):
            given = [
                min(4, max(0, round(4 * gold[k] + random.gauss(0, DRIFT) + random.gauss(0, NOISE))))
                for _ in range(RATERS)
            ]
            ratings.append(
                Rating(
                    prompt=table.prompts[k],
                    completion=table.completions[k],
                    aspects={"helpfulness": sum(given) / RATERS},
                )
            )
        vote = strength_of([_vote(WORTH * (gold[i] - gold[j]), random) for _ in range(VOTERS)])
        if vote is not None:
            good, bad = (i, j) if vote > 0 else (j, i)
            pairs.append(
                Comparison(
                    prompt=table.prompts[at],
                    chosen=table.completions[good],
                    rejected=table.completions[bad],
                    strength=abs(vote),
                )
            )
    return ratings, pairs


def _vote(lead: float, random: Random) -> int:
    """A forced choice, and how much: a noisy lead (a logistic draw, so that choices are Bradley-Terry's) in steps."""
    u = random.uniform(1e-6, 1 - 1e-6)
    noisy = lead + torch.logit(torch.tensor(u, dtype=torch.float64)).item()
    return (1 if noisy > 0 else -1) * min(3, 1 + int(abs(noisy) / STEP))


def alone(strength: str | None, lr: float) -> Arm:
    """By preferences alone (None: by ratings), for the steps of both stages."""

    def arm(seed: int) -> Measures:
        ratings, pairs = said(seed)
        reward = HeadReward(pool(seed), hidden=HIDDEN, seed=luck(seed))
        records = ratings if strength is None else pairs
        steps = EPOCHS * (len(ratings) + len(pairs)) // BATCH
        options = FitOptions(strength=strength or "ignore")  # type: ignore[arg-type]
        return measured(reward.fitted(records, options, lr=lr, steps=steps, batch_size=BATCH, seed=luck(seed)), seed)

    return arm


def both(strength: str, lr: float, *, beyond: bool = False) -> Arm:
    def arm(seed: int) -> Measures:
        ratings, pairs = said(seed)
        reward = rated_then_compared([*ratings, *pairs], pool(seed), hidden=HIDDEN, strength=strength, beyond=beyond, rating_lr=LR["ratings"], lr=lr, epochs=EPOCHS,
                                     batch_size=BATCH, seed=luck(seed))  # fmt: skip
        return measured(reward, seed)

    return arm


def measured(reward: HeadReward, seed: int) -> Measures:
    """How often the better of two held-out answers comes first, of all and of those that differ little; the gold of the best of four."""
    table = pool(seed)
    gold = sum((w * table.said[a] for a, w in ASPECTS.items()), torch.zeros(len(table.prompts)))
    values = table.values(reward)
    i, j = torch.tensor(table.tests).T
    gap = gold[i] - gold[j]
    right = ((values[i] - values[j]) * gap > 0).float()
    best = values[REQUESTS * ANSWERS :].reshape(-1, ANSWERS).argmax(1, keepdim=True)
    return {"gold": float(right[gap != 0].mean()), "near": float(right[(gap != 0) & (gap.abs() < 0.2)].mean()),
            "best of 4": float(gold[REQUESTS * ANSWERS :].reshape(-1, ANSWERS).gather(1, best).mean())}  # fmt: skip


MAKERS: dict[str, Callable[[float], Arm]] = {
    "ratings": partial(alone, None),
    "plain": partial(alone, "ignore"),
    "scaled": partial(alone, "weight"),
    "both-scaled": partial(both, "weight"),
}
ARMS = {
    "ratings": MAKERS["ratings"](LR["ratings"]),
    "plain": MAKERS["plain"](LR["plain"]),
    "margin": alone("margin", LR["scaled"]),
    "scaled": MAKERS["scaled"](LR["scaled"]),
    "both-plain": both("ignore", LR["both-scaled"]),
    "both-margin": both("margin", LR["both-scaled"]),
    "both-scaled": MAKERS["both-scaled"](LR["both-scaled"]),
    "beyond": both("weight", LR["both-scaled"], beyond=True),
}
TUNING = {f"{name} rate {rate}": make(rate) for name, make in MAKERS.items() for rate in RATES}
