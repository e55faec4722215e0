"""56 LSC: is a sum of log-sigmoid-centred rewards a better AND of two properties than a weighted sum of raw ones?

By best-of-n, where every arm has exactly the same KL (log n - (n-1)/n) for each n: the comparison at equal KL that
the card asks for. Two reward models learn from people who look at content only, or at manner only; all arms of a seed choose among the
same answers by the same scores, so that they differ in the choice alone.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.evaluation import best_of_n_curve
from accord.policies import Rollouts
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.luck import luck
from accord.rewards import BradleyTerry, References, score
from accord.worlds.letters import ASPECTS, gold, policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model

PROPERTIES = {"content": ("correct", "helpful"), "manner": ("safe", "sincere", "polite", "concise")}
NS, ANSWERS, PROMPTS, PAIRS, REFERENCES = (4, 16, 64), 64, 150, 1500, 32
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BEST = 0.6
"""Of these, by gold on tuning seeds."""
SURE = 3.0
"""People who judge one property are so many times surer of what they see than those who judge all: else rewards hardly leave the
range in which a log-sigmoid is a line, and no two arms could differ."""

CLAIM = Claim(
    name="lsc-rewards",
    world="letters",
    statement="Averaged over best-of-4, 16 and 64, answers chosen by the LSC sum beat the base's answer in both "
    "properties more often than those chosen by the raw sum, and not less often than by the raw sum of the best weights.",
    primaries=(
        Primary("lsc", "raw-0.5", delta=0.04),
        Primary("lsc", f"raw-{BEST}", "not worse", delta=0.04),
    ),
    arms=("any", "oracle", *(f"raw-{w}" for w in WEIGHTS), "lsc"),
    settings=(
        ("n", str(NS)),
        ("prompts", str(PROMPTS)),
        ("references", f"{REFERENCES} of the base, their 85th percentile"),
        ("pairs", f"{PAIRS} for each property"),
        ("people", f"{SURE} times as sure, without flaws"),
    ),
)


Said = dict[str, Tensor]
Choose = Callable[[Said, Rollouts, int], Tensor]
"""From what the reward of each property says of the answers, and the seed, to what chooses among them."""


def chosen(choose: Choose) -> Arm:
    def arm(seed: int) -> Measures:
        drawn = pool(seed, luck(seed))
        rows = best_of_n_curve(choose(said(seed, luck(seed)), drawn, seed), {"gold": both_beaten(drawn, seed)}, NS)
        return {
            "gold": sum(r["gold"] for r in rows) / len(rows),
            **{f"gold@{n}": r["gold"] for n, r in zip(NS, rows, strict=True)},
        }

    return arm


def anyone(seed: int) -> Measures:
    """All answers alike."""
    return {"gold": float(both_beaten(pool(seed, seed), seed).mean())}


def truth(values: Said, drawn: Rollouts, seed: int) -> Tensor:
    wins = both_beaten(drawn, seed)
    prompts = [str(p) for p in drawn.prompt_of_each()]
    return wins + 1e-3 * gold(prompts=prompts, completions=drawn.completions).values.reshape(wins.shape)


def raw(weight: float) -> Choose:
    return lambda values, drawn, seed: weight * values["content"] + (1 - weight) * values["manner"]


def lsc(values: Said, drawn: Rollouts, seed: int) -> Tensor:
    centred = [logsigmoid(r - references(seed)[name].level(drawn.prompts)[:, None]) for name, r in values.items()]
    return torch.stack(centred).sum(0)


@lru_cache(maxsize=2)
def pool(seed: int, randomness: int) -> Rollouts:
    with metered():
        asked = [t.prompt for t in tasks(PROMPTS, seed=seed, split="test")]
        return policy().sample(asked, ANSWERS, SAMPLING, seed=randomness)


@lru_cache(maxsize=2)
def said(seed: int, randomness: int) -> Said:
    """What the reward of each property says of every answer."""
    drawn = pool(seed, randomness)
    samples: dict[str, Any] = {"prompts": [str(p) for p in drawn.prompt_of_each()], "completions": drawn.completions}
    with metered():
        return {name: score(r, **samples).values.reshape(len(drawn.prompts), -1) for name, r in rewards(seed).items()}


@lru_cache(maxsize=1)
def rewards(seed: int) -> dict[str, BradleyTerry]:
    """A reward model for each property, of people who judge nothing else."""
    return {name: _reward(seed, i, aspects) for i, (name, aspects) in enumerate(PROPERTIES.items())}


def _reward(seed: int, number: int, aspects: tuple[str, ...]) -> BradleyTerry:
    def make() -> BradleyTerry:
        people = population(20, seed=seed + number, aspects=aspects, certainty=SURE)
        return reward_model(comparisons(policy(), people, PAIRS, seed=seed + 100 * number), seed=seed + number)

    return kept(
        f"letters {aspects} {PAIRS}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval()
    )


@lru_cache(maxsize=1)
def references(seed: int) -> dict[str, References]:
    """The 85th percentile of the base's answers, for each property."""
    with metered():
        asked = [t.prompt for t in tasks(PROMPTS, seed=seed, split="test")]
        return {
            n: References.sample(r, policy(), asked, REFERENCES, SAMPLING, seed=seed + 11)
            for n, r in rewards(seed).items()
        }


@lru_cache(maxsize=2)
def reference_quality(seed: int) -> dict[str, Tensor]:
    asked = [str(t.prompt) for t in tasks(PROMPTS, seed=seed, split="test")]
    with metered():
        drawn = policy().sample(asked, 1, SAMPLING, seed=seed + 23)
    return qualities(asked, drawn.completions)


def qualities(prompts: list[str], completions: list[str]) -> dict[str, Tensor]:
    said = gold(prompts=prompts, completions=completions).aspects
    return {
        name: sum((ASPECTS[a] * said[a] for a in aspects), torch.zeros(len(prompts)))
        for name, aspects in PROPERTIES.items()
    }


def both_beaten(drawn: Rollouts, seed: int) -> Tensor:
    """For each answer: its chance to beat the base's reference answer in both properties, a tie in one counting half."""
    own = qualities([str(p) for p in drawn.prompt_of_each()], drawn.completions)
    wins = torch.ones(len(drawn))
    for name, theirs in reference_quality(seed).items():
        gap = own[name] - theirs[drawn.group]
        wins = wins * torch.where(gap.abs() < 1e-6, 0.5, (gap > 0).float())
    return wins.reshape(len(drawn.prompts), -1)


ARMS = {
    "any": anyone,
    "oracle": chosen(truth),
    **{f"raw-{w}": chosen(raw(w)) for w in WEIGHTS},
    "lsc": chosen(lsc),
}
