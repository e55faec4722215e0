"""What the reproductions on letters share: the setting of a seed, training on a reward, measuring by the gold, the ruler."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import fmean
from typing import Any

from accord.algorithms import RLOO, Rollout
from accord.engine import fit
from accord.evaluation import Probe
from accord.feedback import Comparison, Task
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Measures
from accord.reproduce.course import note
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.luck import luck
from accord.rewards import BradleyTerry, Reward
from accord.worlds.letters import FLAWS, gold, policy, population, spurious, tasks
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model

TESTS, WATCHED = 400, 150
"""Held-out requests at the end of a run, and on its way: the same for all arms of a seed."""

CALM: dict[str, Any] = {"schedule": "cosine", "warmup": 0.1}
"""Training under which a run's twin ends near it."""


@lru_cache(maxsize=1)
def verdicts(seed: int, pairs: int, flaw: str = "none", noise: float = 0.0) -> list[Comparison]:
    """What a population of this seed, with one of the world's flaws, says of pairs of the base policy's answers."""

    def make() -> list[Comparison]:
        return comparisons(policy(), population(20, seed=seed, bias=FLAWS[flaw], noise=noise), pairs, seed=seed)

    return kept(f"letters verdicts {pairs} {flaw} {noise}", seed, make, save_comparisons, load_comparisons)


@lru_cache(maxsize=1)
def proxy(seed: int, pairs: int = 1000, flaw: str = "none") -> BradleyTerry:
    """A reward model trained on them."""

    def make() -> BradleyTerry:
        return reward_model(verdicts(seed, pairs, flaw), seed=seed)

    return kept(
        f"letters proxy {pairs} {flaw}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval()
    )


def train(algorithm: Any, data: Sequence[Any], seed: int, *, steps: int, **training: Any) -> None:
    """Fit on data, calmly and by the run's own luck; evaluated, if at all, at the start and six times more."""
    options = {"evaluate_every": max(1, steps // 6), **CALM, **training}
    fit(algorithm, data, steps=steps, seed=luck(seed), progress=False, **options)


def requests(seed: int) -> list[Task]:
    """Those on which policies of a seed train."""
    return tasks(1000, seed=seed + 1)


def on_policy(make: Callable[[LanguagePolicy, Reward], Rollout], reward: Reward, seed: int, *, steps: int, lr: float,
              batch_size: int = 16, **training: Any) -> Measures:  # fmt: skip
    """Train the base policy on a reward; measure it at the end, and by how much it ends below its best gold on the way (both
    of two evaluations in a row: a single one's best is mostly luck)."""
    trained = policy()
    algorithm = make(trained, reward)
    watch = watched(trained, seed, proxy=reward)
    seen: list[float] = []

    def look(step: int) -> Measures:
        seen.append(watch(step)["reward/gold"])
        return {}

    train(algorithm, requests(seed), seed, steps=steps, batch_size=batch_size, lr=lr, evaluate=look, **training)
    with metered():
        found = answers(trained, seed)
        found["kl"] = kl(trained, seed)
    calm = [fmean(two) for two in pairwise(seen)]
    return {**found, "peak": max(calm), "drop": max(calm) - calm[-1]}


def looked_at(seed: int) -> list[Task]:
    """Held-out requests on which runs of a seed are watched."""
    return tasks(WATCHED, seed=seed, split="test")


def watched(trained: LanguagePolicy, seed: int, **rewards: Reward) -> Callable[[int], Measures]:
    """An evaluation hook for `fit` that puts a run's course on record: gold, KL and what else alarms are read off.

    Args:
        rewards: that are optimised ("proxy") or compared with it.
    """
    probe = Probe(
        trained, looked_at(seed), {"gold": gold, **rewards}, SAMPLING, seed=seed, reference=policy().freeze("now")
    )

    def look(step: int) -> Measures:
        with metered():
            return note(step, probe(step))

    return look


def rloo(kl: float = 0.02) -> Callable[[LanguagePolicy, Reward], Rollout]:
    return lambda p, r: RLOO(p, r, kl=kl, group_size=4, sampling=SAMPLING)


def answers(trained: LanguagePolicy, seed: int, *, n: int = TESTS) -> Measures:
    """Gold, its aspects and the spurious features of one answer to each of n held-out requests."""
    return quality(*held_out(trained, seed, n=n))


def held_out(trained: LanguagePolicy, seed: int, *, n: int = TESTS) -> tuple[list[str], list[str]]:
    """n held-out requests and the policy's answer to each."""
    asked = [str(t.prompt) for t in tasks(n, seed=seed, split="test")]
    return asked, trained.sample(asked, 1, SAMPLING, seed=seed).completions


def quality(prompts: list[str], completions: list[str]) -> Measures:
    """Means of gold, aspects and spurious features."""
    said = gold(prompts=prompts, completions=completions)
    features = {f: sum(v) / len(v) for f, v in spurious(completions).items()}
    return {"gold": float(said.values.mean()), **{a: float(v.mean()) for a, v in said.aspects.items()}, **features}


def kl(trained: LanguagePolicy, seed: int) -> float:
    """KL of an answer to the base policy, in nats."""
    asked = tasks(TESTS, seed=seed, split="test")
    drawn = trained.sample([t.prompt for t in asked], 1, SAMPLING, seed=seed + 7)
    gap = (drawn.logprobs - policy().freeze("now").logprobs(drawn)) * drawn.mask
    return float(gap.sum(-1).mean())


def base(seed: int) -> Measures:
    """The untrained policy."""
    return {**answers(policy(), seed), "kl": 0.0, "peak": 0.0, "drop": 0.0}


def oracle(seed: int) -> Measures:
    """The policy trained on the gold itself."""
    return on_policy(rloo(kl=0.0), gold, seed, steps=120, lr=1e-3)


def null(seed: int) -> Measures:
    """A run of a method in this world, by whose twins the harness is tested; nobody watches it on its way."""
    trained = policy()
    train(rloo()(trained, proxy(seed)), requests(seed), seed, steps=16, batch_size=16, lr=2e-4)
    return answers(trained, seed)


ARMS: dict[str, Arm] = {"base": base, "oracle": oracle, "null": null}
"""Of the world itself: its ruler, and a run of a method by whose twins the harness is tested (`reproduce/{ruler,errors}.py`)."""
