"""83 COPO: do prompts on which all answers agree teach something, if they are compared with other prompts?

Sums of two or three terms, most of which the base policy gets wrong. The reward is the truth here, so what is measured is accuracy, on sums
that no training has seen.
"""

from collections.abc import Callable
from functools import partial
from statistics import fmean

from accord.algorithms import COPO, GRPO, Rollout
from accord.algorithms.rollout.copo import Blend
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.letters_arms import FASTER, learned
from accord.reproduce.rates import at_best, at_rates
from accord.rewards import numeric_answer
from accord.worlds.letters import tasks
from accord.worlds.letters.tasks import Kind

STEPS, BATCH, GROUP, TESTS, TRIES = 60, 12, 6, 100, 8
LR = {"grpo": 2e-4, "copo": 2e-4, "global": 2e-4, "forced": 2e-4}
KINDS: tuple[Kind, ...] = ("reason",)
SAMPLING = Sampling(max_new_tokens=64)

CLAIM = Claim(
    name="copo-consistency",
    world="letters",
    statement=f"At equal samples and steps, COPO answers more held-out sums right (the mean of {TRIES} tries) than GRPO, and not fewer by majority.",
    primaries=(Primary("copo", "grpo", delta=0.05), Primary("copo", "grpo", says="not worse", measure="majority", delta=0.05)),
    arms=("grpo", "copo", "global", "forced"),
    equal=("grpo", "copo", "global", "forced"),
    seeds=12,
    settings=(("steps", str(STEPS)), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"), ("blend", "soft-zero, gamma 5, rho 1"),
              ("tests", f"{TESTS} x {TRIES}")),
)  # fmt: skip

right = numeric_answer("answer")


def accuracy(trained: LanguagePolicy, seed: int, tries: int = TRIES) -> Measures:
    """Share of right answers to held-out sums, of sums whose commonest answer is right, and of sums whose answers are all right or all wrong."""
    asked = tasks(TESTS, seed=seed, split="test", kinds=KINDS)
    drawn = trained.sample([t.prompt for t in asked], tries, SAMPLING, seed=seed)
    wanted = [str(t.columns["answer"]) for t in asked for _ in range(tries)]
    said = right(prompts=drawn.prompt_of_each(), completions=drawn.completions, answer=wanted)
    assert said.answer is not None
    groups = [said.answer[i : i + tries] for i in range(0, len(wanted), tries)]
    majority = [max(dict.fromkeys(g), key=g.count) == wanted[i * tries] for i, g in enumerate(groups)]
    alike = [len(set(v)) == 1 for v in said.values.reshape(-1, tries).tolist()]
    return {"gold": float(said.values.mean()), "majority": fmean(majority), "alike": fmean(alike)}


def watched(trained: LanguagePolicy, seed: int) -> Callable[[int], Measures]:
    def look(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": accuracy(trained, seed, 1)["gold"]})

    return look


def learning(make: Callable[[LanguagePolicy], Rollout], lr: float) -> Arm:
    return learned(lambda p, seed: make(p), lambda seed: tasks(1000, seed=seed + 1, kinds=KINDS), measure=accuracy, watch=watched,
                   steps=STEPS, batch_size=BATCH, lr=lr)  # fmt: skip


def copo(blend: Blend) -> Callable[[LanguagePolicy], Rollout]:
    return lambda p: COPO(p, right, blend=blend, group_size=GROUP, sampling=SAMPLING)


def grpo(trained: LanguagePolicy) -> Rollout:
    return GRPO(trained, right, group_size=GROUP, sampling=SAMPLING)


MAKERS = {
    "grpo": partial(learning, grpo),
    "copo": partial(learning, copo("soft-zero")),
    "global": partial(learning, copo("global")),
    "forced": partial(learning, copo("soft-forced")),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, FASTER, only=("grpo", "copo"))
