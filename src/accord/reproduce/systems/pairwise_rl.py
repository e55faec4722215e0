"""57 Pairwise-RL: is the chance to beat a right answer, by a judge who reads both, a better reward than a score of one answer alone?

The policy is its own judge, taught on people's verdicts; the others have a scalar model of as many. Judging is dearer than scoring, so the
others go on longer. The third arm beats the same anchors by the scalar model: what the anchor does without the judge.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms import PPO, Judging, PairwiseRL, Rollout, with_anchors
from accord.engine import fit
from accord.evaluation.trust import calibration
from accord.feedback import Comparison, Task
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters import CALM, proxy, requests, verdicts
from accord.reproduce.letters_arms import FASTER, answers_and_kl, learned
from accord.reproduce.letters_rounds import JUDGING, own_judge
from accord.reproduce.rates import at_best, at_rates
from accord.rewards import Anchored, BradleyTerry, PairJudge, Tournament
from accord.rewards.reward import score_pairs
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.demonstrations import demonstrations
from accord.worlds.letters.feedback import SAMPLING

PAIRS, EPOCHS, JUDGE_LR, STEPS, LONGER, BATCH, GROUP, KL, TESTS = 800, 2, 5e-4, 40, 1.4, 8, 4, (0.02, 0.005), 400
LR = {"scalar": 2e-4, "anchored": 2e-4, "own": 2e-4, "pairwise": 2e-4}

CLAIM = Claim(
    name="pairwise-rl",
    world="letters",
    statement="At equal compute, PPO for the chance to beat a right answer, which each request has, by a judge who reads both, ends with a higher gold than PPO "
    "on a scalar reward of as many verdicts, also where that is the chance to beat the same answers; the judge's chances are better calibrated on people's held-out verdicts.",
    primaries=(Primary("pairwise", "scalar"), Primary("pairwise", "anchored"), Primary("pairwise", "scalar", measure="ece", sign=-1, delta=0.03)),
    arms=("scalar", "anchored", "own", "pairwise"),
    equal=("scalar", "anchored", "pairwise"),
    seeds=12,
    settings=(("verdicts", str(PAIRS)), ("judge", f"{EPOCHS} epochs, lr {JUDGE_LR}"), ("steps", f"{STEPS}, of scalar rewards {LONGER} times as many"),
              ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"), ("kl", f"{KL[0]}; of a chance, whose slope is a quarter, {KL[1]}"), ("tests of rewards", str(TESTS))),
)  # fmt: skip


@lru_cache(maxsize=1)
def judge(seed: int) -> PairJudge:
    """The base policy, taught to say which of two answers people preferred."""

    def make() -> LanguagePolicy:
        made = policy()
        fit(Judging(made, **JUDGING), verdicts(seed, PAIRS), epochs=EPOCHS, batch_size=32, lr=JUDGE_LR, seed=seed, progress=False, **CALM)  # fmt: skip
        return made

    return own_judge(kept(f"letters judge {PAIRS}", seed, make, LanguagePolicy.save, _load).freeze("now"))


def _load(folder: Path) -> LanguagePolicy:
    return LanguagePolicy.load(folder)


def scalar(seed: int) -> BradleyTerry:
    return proxy(seed, PAIRS)


def beside(seed: int) -> list[Task]:
    """Requests with a good answer to each, the one to beat."""
    asked = requests(seed)
    return [t.model_copy(update={"columns": {**t.columns, "anchor": d.completion}}) for t, d in zip(asked, demonstrations(asked, seed), strict=True)]  # fmt: skip


def beside_own(seed: int) -> list[Task]:
    """Requests with the best of four answers of the base policy's own, drawn before the arm begins: they are nobody's compute."""
    best: Any = Tournament(judge(seed))
    with metered():
        return with_anchors(policy(), requests(seed)[: STEPS * BATCH], best, sampling=SAMPLING, seed=seed)


@lru_cache(maxsize=1)
def held_out(seed: int) -> list[Comparison]:
    """People's verdicts on answers of the base policy to requests that nobody learns from."""
    asked = tasks(TESTS, seed=seed, split="test")
    drawn = policy().sample([t.prompt for t in asked], 2, SAMPLING, seed=seed).completions
    return population(20, seed=seed).compare(asked, drawn[0::2], drawn[1::2], seed=seed)


def by_judge(seed: int) -> Float[Tensor, "n"]:
    """How much likelier than not the judge finds what people preferred, in log-odds."""
    pairs = held_out(seed)
    wins = judge(seed).wins([p.prompt for p in pairs], [p.chosen for p in pairs], [p.rejected for p in pairs])
    return torch.logit(wins, eps=1e-6)


def by_scalar(seed: int) -> Float[Tensor, "n"]:
    values = score_pairs(scalar(seed), held_out(seed)).values
    return values[0::2] - values[1::2]


def measured(leads: Callable[[int], Float[Tensor, "n"]]) -> Callable[[LanguagePolicy, int], Measures]:
    """The policy by gold, its reward by held-out verdicts: how calibrated, how often right."""

    def measure(trained: LanguagePolicy, seed: int) -> Measures:
        ahead = leads(seed)
        found = calibration(ahead.double().numpy(), [str(p.prompt) for p in held_out(seed)], seed=seed)
        return {**answers_and_kl(trained, seed), "ece": found.ece.value, "accuracy": float((ahead > 0).float().mean())}

    return measure


def learning(make: Callable[[LanguagePolicy, int], Rollout], leads: Any, lr: float, *, data: Any = beside, longer: float = 1.0) -> Arm:  # fmt: skip
    return learned(make, data, measure=measured(leads), steps=round(longer * STEPS), batch_size=BATCH, lr=lr, lr_of={"critic": 1e-3})  # fmt: skip


def plain(trained: LanguagePolicy, seed: int) -> Rollout:
    return PPO(trained, scalar(seed), kl=KL[0], value_weight=0.5, group_size=GROUP, sampling=SAMPLING)


def anchored(trained: LanguagePolicy, seed: int) -> Rollout:
    return PairwiseRL(trained, Anchored(scalar(seed)), kl=KL[1], group_size=GROUP, sampling=SAMPLING)


def pairwise(trained: LanguagePolicy, seed: int) -> Rollout:
    return PairwiseRL(trained, judge(seed), kl=KL[1], group_size=GROUP, sampling=SAMPLING)


MAKERS = {
    "scalar": partial(learning, plain, by_scalar, longer=LONGER),
    "anchored": partial(learning, anchored, by_scalar, longer=LONGER),
    "own": partial(learning, pairwise, by_judge, data=beside_own),
    "pairwise": partial(learning, pairwise, by_judge),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, FASTER, only=("scalar", "anchored", "pairwise"))
