"""33 MORE: is a reward of five sources better calibrated on what all of them want, if their shares are chosen so that none is learned against another?

Heads on frozen features of the base policy's answers. All sources want right and safe answers; each has a taste of its own, two of them opposite
ones, and they differ in size and in noise. The controls see the same pairs in the same batches, with equal shares or with random ones.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine import fit
from accord.engine.seeds import generator
from accord.feedback import Comparison
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_people import ANSWERS, REQUESTS, Pool, pool, verdicts
from accord.reproduce.luck import luck
from accord.rewards import MORE, HeadReward
from accord.rewards.more_diversified_preferences import evened
from accord.worlds.annotators import Annotator

SHARED = {"correct": 3.0, "safe": 2.0, "helpful": 1.0}
OWN = ({"length": 0.15}, {"length": -0.15}, {"flattery": 1.5}, {"polite": 3.0}, {"formatting": 0.6})
SIZES, NOISES = (500, 200, 400, 300, 100), (0.0, 0.2, 0.1, 0.0, 0.3)
EPOCHS, BATCH, HIDDEN, BINS = 6, 64, 64, 10
LR = {"pooled": 1e-4, "random": 1e-4, "more": 1e-4}
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)

CLAIM = Claim(
    name="more-diversified-preferences",
    world="letters",
    statement="MORE's reward errs less in its confidence about what all sources want than one trained on all of them alike, or with random shares, and "
    "orders answers no worse.",
    primaries=(
        Primary("more", "pooled", measure="ece", sign=-1, delta=0.01),
        Primary("more", "random", measure="ece", sign=-1, delta=0.01),
        Primary("more", "pooled", "not worse", delta=0.02),
    ),
    arms=("pooled", "random", "more"),
    settings=(("sources", f"five of {SIZES} pairs, {NOISES} of them noise; opposed in length, else each with a taste of its own"),
              ("lr, each of", f"{LR} {RATES}"), ("epochs, batch", f"{EPOCHS} {BATCH}"), ("bins", f"{BINS} of equal width, both orders of a pair, against exact chances")),
)  # fmt: skip


def sources() -> list[Annotator]:
    """One for each source: what is wanted by aspects, and by what counts as a bias."""
    made = []
    for i, (own, noise) in enumerate(zip(OWN, NOISES, strict=True)):
        weights = {**SHARED, **{k: w for k, w in own.items() if k == "polite"}}
        made.append(Annotator(f"source-{i}", weights, {k: w for k, w in own.items() if k != "polite"}, noise, group=i))
    return made


SHARED_ALONE = Annotator("all", SHARED)


@lru_cache(maxsize=1)
def said(seed: int) -> list[Comparison]:
    table = pool(seed)
    some = [p for judge, n in zip(sources(), SIZES, strict=True) for p in verdicts(table, [judge], n, seed)]
    return evened(some, "camp", seed=seed)


class Equal(MORE):
    """All sources alike: plain training on all of it."""

    def shares(self, rows: Sequence[Comparison]) -> tuple[list[str], list[float]]:
        names, _ = super().shares(rows)
        return names, [1 / len(names)] * len(names)


class Random(MORE):
    """Shares that mean nothing: uniform ones on the simplex."""

    def shares(self, rows: Sequence[Comparison]) -> tuple[list[str], list[float]]:
        names, found = super().shares(rows)
        drawn = -torch.rand(len(names), generator=generator(0, purpose=str(found))).clamp(min=1e-9).log()
        return names, (drawn / drawn.sum()).tolist()


def trained(method: type[MORE], lr: float) -> Arm:
    def arm(seed: int) -> Measures:
        table = pool(seed)
        reward = HeadReward(table, hidden=HIDDEN, seed=luck(seed))
        fit(
            method(reward, by="camp"),
            said(seed),
            lr=lr,
            epochs=EPOCHS,
            batch_size=BATCH,
            seed=luck(seed),
            progress=False,
        )
        return measured(table, reward)

    return arm


def measured(table: Pool, reward: Any) -> Measures:
    values, worth = table.values(reward), table.wanted(SHARED_ALONE)
    i, j = torch.tensor(table.tests).T
    leads, truth = values[i] - values[j], torch.sigmoid(worth[i] - worth[j])
    differ = worth[i] != worth[j]
    best = values[REQUESTS * ANSWERS :].reshape(-1, ANSWERS).argmax(1)
    chosen = worth[REQUESTS * ANSWERS :].reshape(-1, ANSWERS).gather(1, best[:, None]).mean()
    return {
        "gold": float(((leads * (worth[i] - worth[j]))[differ] > 0).float().mean()),
        "ece": ece(leads, truth),
        "ece fitted": ece(leads / fitted(leads, truth), truth),
        "best of 4": float(chosen),
        "size of leads": float(leads.abs().mean()),
    }


def ece(leads: Float[Tensor, "n"], truth: Float[Tensor, "n"]) -> float:
    """How far the chances that leads stand for lie from the true ones, bin by bin, over both orders of each pair."""
    said, true = torch.sigmoid(torch.cat([leads, -leads])), torch.cat([truth, 1 - truth])
    place = (said * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).index_add(0, place, said - true)
    return float(gaps.abs().sum() / len(said))


def fitted(leads: Float[Tensor, "n"], truth: Float[Tensor, "n"]) -> float:
    """Of many temperatures the one under which the truth is likeliest."""

    def loss(t: float) -> float:
        return float(torch.nn.functional.binary_cross_entropy_with_logits(leads / t, truth))

    return min((2.0 ** (k / 4) for k in range(-16, 17)), key=loss)


METHODS: dict[str, type[MORE]] = {"pooled": Equal, "random": Random, "more": MORE}
ARMS = {name: trained(method, LR[name]) for name, method in METHODS.items()}
TUNING = {f"{name} rate {rate}": trained(method, rate) for name, method in METHODS.items() for rate in RATES}
