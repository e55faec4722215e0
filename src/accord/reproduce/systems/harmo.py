"""10 HARMO: do rules where an answer can be verified and a model elsewhere beat either of them alone, where that model likes it short?

Half of the requests have an answer that a rule can check, half have none. The model has learned from people who dislike long replies. Rules
alone train on the first half's requests, as many as the others have of both.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from accord.algorithms import GRPO
from accord.feedback import Task
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce import letters_arms
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.keep import kept
from accord.reproduce.letters import quality
from accord.reproduce.rates import at_best, at_rates
from accord.rewards import BradleyTerry, Hybrid, Reward, exact_answer, routed, shaped
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model
from accord.worlds.letters.tasks import Kind

VERIFIABLE: tuple[Kind, ...] = ("sum", "choice")
OPEN: tuple[Kind, ...] = ("note", "unsafe")
PAIRS, BREVITY, STEPS, BATCH, GROUP, TESTS = 1000, -0.4, 50, 12, 4, 400
LONGER = {"rules": 1.14, "model": 1.2, "hybrid": 1.12, "harmo": 1.0}
"""HARMO's replies are longer, and take more to draw: the others learn for as many steps more."""
LR = {"rules": 2e-4, "model": 2e-4, "hybrid": 2e-4, "harmo": 2e-4}

CLAIM = Claim(
    name="harmo",
    world="letters",
    statement="At equal compute, rules and a learned reward joined by HARMO end with a higher gold over verifiable and open requests together than "
    "rules alone, and than the learned reward alone; its shortfall costs nothing against joining them without.",
    primaries=(Primary("harmo", "model"), Primary("harmo", "rules"), Primary("harmo", "hybrid", says="not worse")),
    arms=("rules", "model", "hybrid", "harmo"),
    equal=("rules", "model", "hybrid", "harmo"),
    seeds=12,
    first_seed=500,
    settings=(("pairs", f"{PAIRS}, log-odds for a word {BREVITY}"), ("steps", f"{STEPS}, times {LONGER}"), ("prompts x answers", f"{BATCH} x {GROUP}"),
              ("lr", f"{LR}, cosine"), ("requests", f"{VERIFIABLE} and {OPEN}"), ("advantages", "without a standard deviation")),
)  # fmt: skip

rule = exact_answer("answer", extract=r"(?:the answer is|it is the) (\w+) \.")


def learned(seed: int) -> Reward:
    """The probability that the model of people's verdicts gives an answer, over an average one."""

    def make() -> BradleyTerry:
        return reward_model(
            comparisons(policy(), population(20, seed=seed, bias={"length": BREVITY}), PAIRS, seed=seed), seed=seed
        )

    model = kept(
        f"letters brevity {PAIRS} {BREVITY}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval()
    )
    return shaped(model, lambda r, prompts: torch.sigmoid(r), "probability")


def asked(seed: int, kinds: tuple[Kind, ...] = (*VERIFIABLE, *OPEN)) -> list[Task]:
    return tasks(1000, seed=seed + 1, kinds=kinds)


def measured(trained: LanguagePolicy, seed: int, n: int = TESTS) -> Measures:
    """Quality of answers to held-out requests, and the gold of both halves."""
    halves = [tasks(n // 2, seed=seed, split="test", kinds=kinds) for kinds in (VERIFIABLE, OPEN)]
    prompts = [[str(t.prompt) for t in half] for half in halves]
    said = [trained.sample(p, 1, SAMPLING, seed=seed).completions for p in prompts]
    apart = {
        f"gold/{name}": quality(p, c)["gold"] for name, p, c in zip(("verifiable", "open"), prompts, said, strict=True)
    }
    return {**quality([*prompts[0], *prompts[1]], [*said[0], *said[1]]), **apart}


def watched(trained: LanguagePolicy, seed: int) -> Callable[[int], Measures]:
    def look(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": measured(trained, seed, 150)["gold"]})

    return look


def learning(reward: Callable[[int], Any], longer: float, lr: float, data: Callable[[int], list[Task]] = asked) -> Arm:
    return letters_arms.learned(lambda p, seed: GRPO(p, reward(seed), scale=False, group_size=GROUP, sampling=SAMPLING), data,
                                measure=measured, watch=watched, steps=round(longer * STEPS), batch_size=BATCH, lr=lr)  # fmt: skip


def hybrid(seed: int) -> Reward:
    return routed("kind", dict.fromkeys(VERIFIABLE, rule) | dict.fromkeys(OPEN, learned(seed)))


def harmo(seed: int) -> Reward:
    return Hybrid(hybrid(seed))  # type: ignore[return-value]


MAKERS = {
    "rules": partial(learning, lambda seed: rule, LONGER["rules"], data=partial(asked, kinds=VERIFIABLE)),
    **{
        name: partial(learning, r, LONGER[name])
        for name, r in (("model", learned), ("hybrid", hybrid), ("harmo", harmo))
    },
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, letters_arms.FASTER)
