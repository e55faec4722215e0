"""How far the base policy can be brought, by its gold, and where people with flaws bring it: a few training runs each."""

from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

from accord.algorithms import RLOO
from accord.engine import fit
from accord.policies import LanguagePolicy
from accord.rewards import Reward
from accord.worlds.letters.feedback import LONG, SAMPLING, comparisons, reward_model
from accord.worlds.letters.gold import gold
from accord.worlds.letters.model import policy
from accord.worlds.letters.population import FLAWS, population
from accord.worlds.letters.tasks import KINDS, Kind, tasks

CALM: dict[str, Any] = {"batch_size": 16, "schedule": "cosine", "warmup": 0.1}
"""Of RLOO with groups of 4."""
GOLD_LR, PROXY_LR = 1e-3, 3e-4
STEPS, LONGER, TESTS, FIRST = 120, 220, 400, 1000


def trained(
    reward: Reward, seed: int, *, lr: float = GOLD_LR, steps: int = STEPS, kinds: tuple[Kind, ...] = KINDS
) -> LanguagePolicy:
    """The base policy after RLOO on a reward."""
    made = policy()
    sampling = SAMPLING if kinds == KINDS else LONG
    fit(RLOO(made, reward, kl=0.0, group_size=4, sampling=sampling), tasks(1000, seed=seed, kinds=kinds), steps=steps,
        lr=lr, seed=seed, progress=False, **CALM)  # fmt: skip
    return made.eval()


def quality(made: LanguagePolicy, seed: int, kinds: tuple[Kind, ...] = KINDS) -> float:
    """Mean gold on held-out requests."""
    asked = [t.prompt for t in tasks(TESTS, seed=seed, split="test", kinds=kinds)]
    said = made.sample(asked, 1, SAMPLING if kinds == KINDS else LONG, seed=seed).completions
    return float(gold(prompts=[str(p) for p in asked], completions=said).values.mean())


def proxy(flaw: str, seed: int, pairs: int = 1000) -> Reward:
    """What a reward model learns from people with one of the `FLAWS`."""
    people = population(20, seed=seed, bias=FLAWS[flaw])
    return reward_model(comparisons(policy(), people, pairs, seed=seed), seed=seed)


def headroom(runs: int) -> dict[str, float]:
    """Base and oracle, what people's verdicts reach under each flaw, and how far a run's twin ends away."""
    seeds = range(FIRST, FIRST + runs)
    base = [quality(policy(), s) for s in seeds]
    found = {"base": mean(base), "base/least": min(base), "base/most": max(base)}
    longest = trained(gold, FIRST, steps=LONGER)
    found[f"oracle, {LONGER} steps"] = quality(longest, FIRST)

    def measure(name: str, make: Callable[[int], LanguagePolicy], against: list[float]) -> None:
        ends = [quality(make(s), s) for s in seeds]
        gain = [e - b for e, b in zip(ends, against, strict=True)]
        found.update({name: mean(ends), f"{name}/sd over seeds": stdev(ends), f"{name}/least": min(ends), f"{name}/most": max(ends),
                      f"{name}/runs below their base": sum(g < 0 for g in gain) / runs})  # fmt: skip

    measure(f"oracle, {STEPS} steps", lambda s: trained(gold, s), base)
    for flaw in FLAWS:
        measure(f"people's flaws: {flaw}", lambda s, f=flaw: trained(proxy(f, s), s, lr=PROXY_LR), base)  # type: ignore[misc]
    for kind in ("reason", "quiz", "explain"):
        found[f"{kind}/base"] = quality(policy(), FIRST, (kind,))
        found[f"{kind}/oracle, {STEPS} steps"] = quality(trained(gold, FIRST, kinds=(kind,)), FIRST, (kind,))
    return found
