"""20 DPO-RA: does asking for the score that an answer has keep DPO from unlearning good answers that something better was preferred to?

A score is asked for by this world's own tag, which the base heeds a little, as an instructed model does a wish in words; gold reads the prompt
without it. The treatment gets half of the pairs, which make as many items.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from statistics import fmean
from typing import Literal

import torch
from scipy.stats import spearmanr

from accord.algorithms import DPO, RewardAugmentedDPO
from accord.engine import fit
from accord.feedback import Comparison, Prompt
from accord.policies import LanguagePolicy
from accord.policies.base import Group
from accord.policies.meter import metered
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.letters import CALM, TESTS, WATCHED, quality
from accord.reproduce.letters_arms import RATES
from accord.reproduce.luck import luck
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING

PAIRS, STEPS, ITEMS, BETA, BEST, GOOD = 400, 100, 16, 0.1, 3, 2
LR = {"dpo": 1e-4, "dpo-half": 1e-4, "dpo-ra": 1e-4}

CLAIM = Claim(
    name="reward-augmented-dpo",
    world="letters",
    statement="After the same steps on as many items, DPO-RA on half of the scored pairs, asked for the best score, has a higher gold than DPO on "
    f"all of them, and rejected answers that scored {GOOD} or more of {BEST} have lost less log-probability, where their own score is asked for.",
    primaries=(Primary("dpo-ra", "dpo"), Primary("dpo-ra", "dpo", measure="kept", delta=1.0)),
    arms=("dpo", "dpo-half", "dpo-ra"),
    equal=("dpo", "dpo-ra"),
    settings=(("pairs", f"{PAIRS} with people's scores from 0 to {BEST}"), ("steps x items", f"{STEPS} x {ITEMS}"), ("lr", f"{LR}, cosine"),
              ("beta", str(BETA))),
)  # fmt: skip


def wished(prompt: Prompt, scores: Sequence[float]) -> Prompt:
    """The request for a score in this world's words."""
    return f"<helpful:{scores[0]:g}> {prompt}"


@lru_cache(maxsize=1)
def pairs(seed: int) -> list[Comparison]:
    """Pairs of the base policy's answers that people rated differently, the better one chosen."""

    def make() -> list[Comparison]:
        asked, people = tasks(3 * PAIRS, seed=seed), population(20, seed=seed)
        drawn = policy().sample([t.prompt for t in asked], 2, SAMPLING, seed=seed).completions
        rated = people.rate([t for t in asked for _ in "12"], drawn, seed=seed)
        scored = [(round(r.aspects["overall"] * BEST / 4), r.completion) for r in rated]
        made = []
        for task, one, other in zip(asked, scored[0::2], scored[1::2], strict=True):
            better, worse = (one, other) if one[0] > other[0] else (other, one)
            if better[0] > worse[0]:
                made.append(Comparison(prompt=task.prompt, chosen=better[1], rejected=worse[1],
                                       columns={"score_chosen": better[0], "score_rejected": worse[0]}))  # fmt: skip
        return made[:PAIRS]

    return kept(f"scored pairs {PAIRS} of {BEST}", seed, make, save_comparisons, load_comparisons)


def learn(algorithm: DPO, rows: Sequence[Comparison], batch: int, wish: int | None, seed: int, lr: float) -> None:
    def look(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": asked_for(algorithm.policy, wish, seed, WATCHED)["gold"]})

    fit(algorithm, rows, steps=STEPS, batch_size=batch, lr=lr, seed=luck(seed), evaluate=look, evaluate_every=STEPS // 4, progress=False, **CALM)  # fmt: skip


def dpo(share: float, seed: int, lr: float) -> Measures:
    trained = policy()
    learn(DPO(trained, beta=BETA), pairs(seed)[: int(share * len(pairs(seed)))], ITEMS, None, seed, lr)
    with metered():
        trained.eval()
        best = asked_for(trained, BEST, seed)["gold"]
        return {**asked_for(trained, None, seed), "kept": unlearned(trained, seed, None), f"gold@{BEST}": best}


def dpo_ra(seed: int, lr: float) -> Measures:
    trained = policy()
    learn(RewardAugmentedDPO(trained, goal=wished, beta=BETA), pairs(seed)[: PAIRS // 2], ITEMS // 2, BEST, seed, lr)
    with metered():
        trained.eval()
        wishes = range(BEST + 1)
        found = [asked_for(trained, s, seed) for s in wishes]
        return {**found[-1], "kept": unlearned(trained, seed, "own"), f"kept@{BEST}": unlearned(trained, seed, BEST), "order": float(spearmanr(wishes, [f["gold"] for f in found]).statistic),
                **{f"gold@{s}": f["gold"] for s, f in zip(wishes, found, strict=True)}}  # fmt: skip


def asked_for(trained: LanguagePolicy, score: float | None, seed: int, n: int = TESTS) -> Measures:
    """Quality of answers to held-out requests that ask for this score."""
    asked = [str(t.prompt) for t in tasks(n, seed=seed, split="test")]
    prompts = asked if score is None else [wished(a, [score]) for a in asked]
    return quality(asked, trained.sample(prompts, 1, SAMPLING, seed=seed).completions)


@torch.no_grad()
def unlearned(trained: LanguagePolicy, seed: int, wish: Literal["own"] | int | None) -> float:
    """By how many nats the good ones among rejected answers have become likelier, where a score is asked for (or their own, or none)."""
    some = [p for p in pairs(seed)[: PAIRS // 2] if p.columns["score_rejected"] >= GOOD]
    asked = [p.columns["score_rejected"] if wish == "own" else wish for p in some]
    groups = [Group(p.prompt if a is None else wished(p.prompt, [a]), (p.rejected,)) for p, a in zip(some, asked, strict=True)]  # fmt: skip
    now, then = (m.likelihood(groups).policy for m in (trained, policy()))
    return fmean((now - then).tolist())


MAKERS: dict[str, Maker] = {
    "dpo": lambda lr: partial(dpo, 1.0, lr=lr),
    "dpo-half": lambda lr: partial(dpo, 0.5, lr=lr),
    "dpo-ra": lambda lr: partial(dpo_ra, lr=lr),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, (*RATES, 3e-4, 5e-4), only=("dpo", "dpo-ra"))
