"""83 COPO: do prompts on which all answers agree teach something, if they are compared with other prompts?

Sums of two or three terms, most of which the base policy gets wrong; the reward is the truth, so gold is accuracy on held-out sums.
"""

from collections.abc import Callable
from statistics import fmean
from typing import Any

from accord.algorithms import COPO, GRPO, Rollout
from accord.algorithms.rollout.copo import Blend
from accord.engine import fit
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.luck import luck
from accord.rewards import numeric_answer
from accord.worlds.letters import policy, tasks
from accord.worlds.letters.tasks import Kind

STEPS, BATCH, GROUP, LR, TESTS = 100, 16, 6, 3e-4, 60
KINDS: tuple[Kind, ...] = ("reason",)
SAMPLING = Sampling(max_new_tokens=64)

CLAIM = Claim(
    name="copo-consistency",
    world="letters",
    statement="At equal samples and steps, COPO answers more held-out sums right (the mean of 8 tries) than GRPO.",
    primaries=(Primary("copo", "grpo"), Primary("copo", "grpo", says="not worse", measure="majority")),
    arms=("grpo", "copo", "global", "soft"),
    equal=("grpo", "copo"),
    settings=(("steps", str(STEPS)), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"), ("blend", "soft-zero, gamma 5, rho 1"),
              ("tests", f"{TESTS} x 8")),
)  # fmt: skip

right = numeric_answer("answer")


def accuracy(trained: LanguagePolicy, seed: int, tries: int = 8) -> Measures:
    """Share of right answers to held-out sums, and of sums whose commonest answer is right."""
    asked = tasks(TESTS, seed=seed, split="test", kinds=KINDS)
    drawn = trained.sample([t.prompt for t in asked], tries, SAMPLING, seed=seed)
    wanted = [str(t.columns["answer"]) for t in asked for _ in range(tries)]
    said = right(prompts=drawn.prompt_of_each(), completions=drawn.completions, answer=wanted)
    assert said.answer is not None
    groups = [said.answer[i : i + tries] for i in range(0, len(wanted), tries)]
    majority = [max(set(g), key=g.count) == wanted[i * tries] for i, g in enumerate(groups)]
    alike = [len(set(said.values[i : i + tries].tolist())) == 1 for i in range(0, len(wanted), tries)]
    return {"gold": float(said.values.mean()), "majority": fmean(majority), "groups alike": fmean(alike)}


def trained_by(make: Callable[[LanguagePolicy], Rollout]) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy()

        def look(step: int) -> Measures:
            with metered():
                return note(step, {"reward/gold": accuracy(trained, seed, 2)["gold"]})

        fit(make(trained), tasks(1000, seed=seed, kinds=KINDS), steps=STEPS, batch_size=BATCH, lr=LR, schedule="cosine", warmup=0.1,
            seed=luck(seed), evaluate=look, evaluate_every=STEPS // 4, progress=False)  # fmt: skip
        with metered():
            return accuracy(trained.eval(), seed)

    return arm


def copo(blend: Blend) -> Callable[[LanguagePolicy], Rollout]:
    return lambda p: COPO(p, right, blend=blend, **GROUPS)


GROUPS: dict[str, Any] = {"group_size": GROUP, "sampling": SAMPLING}
ARMS = {
    "grpo": trained_by(lambda p: GRPO(p, right, **GROUPS)),
    "copo": trained_by(copo("soft-zero")),
    "global": trained_by(copo("global")),
    "soft": trained_by(copo("soft-forced")),
}
