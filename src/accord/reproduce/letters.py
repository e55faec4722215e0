"""What the reproductions on letters share: the setting of a seed, training on a reward, measuring by the gold, the ruler."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from accord.algorithms import RLOO, Rollout
from accord.engine import fit
from accord.evaluation import Probe
from accord.feedback import Comparison
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Measures
from accord.reproduce.course import note
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.luck import luck
from accord.rewards import BradleyTerry, Reward
from accord.worlds.letters import gold, policy, population, spurious, tasks
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model

FLAW = (("flattery", 1.5), ("length", 0.05))
"""Log-odds by which people over-value a flattering sentence and a word: what the truth punishes, feedback rewards."""

TESTS = 150


@lru_cache(maxsize=1)
def verdicts(seed: int, pairs: int, flaw: tuple[tuple[str, float], ...] = FLAW, noise: float = 0.0) -> list[Comparison]:
    """What a population of this seed says of pairs of the base policy's answers."""

    def make() -> list[Comparison]:
        return comparisons(policy(), population(20, seed=seed, bias=dict(flaw), noise=noise), pairs, seed=seed)

    return kept(f"letters verdicts {pairs} {flaw} {noise}", seed, make, save_comparisons, load_comparisons)


@lru_cache(maxsize=1)
def proxy(seed: int, pairs: int = 1000, flaw: tuple[tuple[str, float], ...] = FLAW) -> BradleyTerry:
    """A reward model trained on them."""

    def make() -> BradleyTerry:
        return reward_model(verdicts(seed, pairs, flaw), seed=seed)

    return kept(
        f"letters proxy {pairs} {flaw}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval()
    )


def on_policy(make: Callable[[LanguagePolicy, Reward], Rollout], reward: Reward, seed: int, *, steps: int, lr: float,
              batch_size: int = 8, **training: Any) -> Measures:  # fmt: skip
    """Train the base policy on a reward; measure it at the end, and the best and last gold on the way."""
    trained = policy()
    algorithm = make(trained, reward)
    watch = watched(trained, seed, proxy=reward)
    seen: list[float] = []

    def look(step: int) -> Measures:
        seen.append(watch(step)["reward/gold"])
        return {}

    fit(algorithm, tasks(400, seed=seed + 1), steps=steps, batch_size=batch_size, lr=lr, seed=luck(seed), evaluate=look,
        evaluate_every=max(1, steps // 6), progress=False, **training)  # fmt: skip
    with metered():
        found = answers(trained, seed)
        found["kl"] = kl(trained, seed)
    return {**found, "peak": max(seen), "drop": max(seen) - seen[-1]}


def watched(trained: LanguagePolicy, seed: int, **rewards: Reward) -> Callable[[int], Measures]:
    """An evaluation hook for `fit` that puts a run's course on record: gold, KL and what else alarms are read off.

    Args:
        rewards: that are optimised ("proxy") or compared with it.
    """
    asked = tasks(60, seed=seed, split="test")
    probe = Probe(trained, asked, {"gold": gold, **rewards}, SAMPLING, seed=seed, reference=policy().freeze("now"))

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
    return on_policy(rloo(), gold, seed, steps=60, lr=5e-4)


def null(seed: int) -> Measures:
    """A run of a method in this world, by whose twins the harness is tested."""
    return on_policy(rloo(), proxy(seed, flaw=()), seed, steps=16, lr=2e-4, schedule="cosine", warmup=0.1)


ARMS: dict[str, Arm] = {"base": base, "oracle": oracle, "null": null}
"""Of the world itself: its ruler, and a run of a method by whose twins the harness is tested (`reproduce/{ruler,errors}.py`)."""
