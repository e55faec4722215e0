"""80 MODPO: does one objective's pairs with the other as a margin serve two kinds of people better than two losses, weighed?

Some want details and politeness, others short answers; each kind compares pairs of its own. For every share of w each arm trains a policy, and
is measured by what both kinds get, weighed by w, read off the text. The controls learn longer, by what MODPO's margin has to learn first, and by
what one policy for each share has more than two.
"""

from collections.abc import Callable
from functools import partial
from statistics import fmean

import torch

from accord.algorithms import DPO, MODPO
from accord.algorithms.preference.trainer import Preference
from accord.feedback import Comparison
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.letters import held_out, kl, train, watched
from accord.reproduce.letters_arms import RATES
from accord.reproduce.letters_two_kinds import area, both
from accord.reproduce.rates import at_best, at_rates
from accord.rewards import Cached
from accord.worlds.letters import policy, population
from accord.worlds.letters.feedback import comparisons, reward_model

SHARES = (0.2, 0.5, 0.8)
PAIRS, STEPS, BATCH, BETA, LONGER, ALONE = 400, 100, 16, 0.1, 1.25, 1.9
LR = {"weighted": 2e-4, "soups": 5e-5, "modpo": 1e-4}
LIKES = {"detailed": (("helpful", "polite"), {}), "brief": ((), {"length": -0.3})}
"""What each kind of people looks at: aspects of the gold, and what else."""

CLAIM = Claim(
    name="modpo",
    world="letters",
    statement="At equal compute, over three weightings of two kinds of people, MODPO serves both better than DPO with weighed losses, and not "
    "worse than averaged weights of two DPOs.",
    primaries=(Primary("modpo", "weighted", delta=0.05), Primary("modpo", "soups", says="not worse", delta=0.05), Primary("modpo", "weighted", measure="area", delta=0.05)),
    arms=("weighted", "soups", "modpo"),
    equal=("weighted", "soups", "modpo"),
    seeds=12,
    settings=(("pairs", f"{PAIRS} of each kind"), ("steps", f"{STEPS} a share; weighted {LONGER} times as many, each of the two that soups average {ALONE} times"), ("batch", str(BATCH)), ("lr", f"{LR}, cosine"), ("beta", str(BETA)),
              ("shares", str(SHARES))),
)  # fmt: skip


Share = Callable[[float], LanguagePolicy]
"""The policy for a weighting of the two kinds."""


def verdicts(kind: str, seed: int) -> list[Comparison]:
    """What one kind of people says of the base policy's answers."""
    aspects, bias = LIKES[kind]

    def make() -> list[Comparison]:
        people = population(20, seed=seed, aspects=aspects, bias=bias)
        return comparisons(policy(), people, PAIRS, seed=seed + (kind == "brief") * 7919)

    return kept(f"modpo {kind} {PAIRS}", seed, make, save_comparisons, load_comparisons)


def learn(
    algorithm: Preference, rows: list[Comparison], trained: LanguagePolicy, seed: int, lr: float, longer: float = 1.0
) -> LanguagePolicy:
    train(
        algorithm,
        rows,
        seed,
        steps=round(longer * STEPS),
        batch_size=BATCH,
        lr=lr,
        evaluate=watched(trained, seed),
        evaluate_every=round(longer * STEPS) // 2,
    )
    return trained.eval()


def modpo(seed: int, lr: float) -> Share:
    """A reward model of those who like it brief is learned first: it is a part of the method, and of its compute."""
    margin = Cached(reward_model(verdicts("brief", seed), seed=seed), None)

    def share(w: float) -> LanguagePolicy:
        trained = policy()
        return learn(MODPO(trained, margin, beta=BETA, own=w), verdicts("detailed", seed), trained, seed, lr)

    return share


def weighted(seed: int, lr: float) -> Share:
    """Both kinds' pairs, their losses weighed."""

    def share(w: float) -> LanguagePolicy:
        trained = policy()
        rows = [c.model_copy(update={"columns": {**c.columns, "share": 2 * mine}})
                for kind, mine in (("detailed", w), ("brief", 1 - w)) for c in verdicts(kind, seed)]  # fmt: skip
        return learn(DPO(trained, beta=BETA, weight="share"), rows, trained, seed, lr, LONGER)

    return share


def soups(seed: int, lr: float) -> Share:
    """The averaged weights of two DPOs, one on each kind's pairs."""

    def alone(kind: str) -> LanguagePolicy:
        trained = policy()
        return learn(DPO(trained, beta=BETA), verdicts(kind, seed), trained, seed, lr, ALONE)

    ends = [alone(kind) for kind in LIKES]

    def share(w: float) -> LanguagePolicy:
        made = policy()
        with torch.no_grad():
            for p, a, b in zip(made.parameters(), *(end.parameters() for end in ends), strict=True):
                p.copy_(w * a + (1 - w) * b)
        return made.eval()

    return share


def over_shares(make: Callable[[int, float], Share], lr: float) -> Arm:
    """What both kinds of people get, in the mean over the shares; and the area that the policies together cover."""

    def arm(seed: int) -> Measures:
        share, points, found = make(seed, lr), [], []
        for w in SHARES:
            trained = share(w)
            with metered():
                detailed, brief = both(*held_out(trained, seed))
                points.append((detailed, brief))
                found.append(
                    {
                        "gold": w * detailed + (1 - w) * brief,
                        f"detailed@{w}": detailed,
                        f"brief@{w}": brief,
                        f"kl@{w}": kl(trained, seed),
                    }
                )
        return {
            **{k: v for row in found for k, v in row.items()},
            "gold": fmean(row["gold"] for row in found),
            "area": area(points),
        }

    return arm


MAKERS = {
    name: partial(over_shares, make) for name, make in (("weighted", weighted), ("soups", soups), ("modpo", modpo))
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, (*RATES, 4e-4)) | at_rates(MAKERS, (2.5e-5,), only=["soups"])
