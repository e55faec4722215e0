"""68 DR-IRL: does a reward for each kind of request, learned from demonstrations, with advantages scaled by difficulty, beat one reward for all?

Demonstrations are replies as good as can be; a reward learns to tell them from the policy's own. Kinds stand for the paper's categories, and
every arm sees the same, evenly many demonstrations of each: the control that the paper leaves out.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from accord.algorithms import DRIRL, GRPO, Rollout, irl_pairs
from accord.feedback import Example, Task
from accord.policies import LanguagePolicy
from accord.reproduce import letters_arms
from accord.reproduce.claim import Arm, Claim, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters import requests
from accord.reproduce.rates import at_best, at_rates
from accord.rewards import BesideDemonstrations, BradleyTerry, Reward, routed
from accord.worlds.letters import KINDS, policy, tasks
from accord.worlds.letters.demonstrations import demonstrations
from accord.worlds.letters.feedback import SAMPLING, reward_model

SHOWN, STEPS, BATCH, GROUP, KL = 300, 50, 12, 4, 0.04
LR = {"one reward": 2e-4, "by kind": 2e-4, "dr-irl": 2e-4}

CLAIM = Claim(
    name="dr-irl",
    world="letters",
    statement="At equal samples and steps, GRPO with a reward for each kind, learned from demonstrations, and advantages scaled by difficulty ends with a "
    "higher gold than with one such reward for all kinds, and than with a reward for each kind but no scaling.",
    primaries=(Primary("dr-irl", "one reward"), Primary("dr-irl", "by kind")),
    arms=("one reward", "by kind", "dr-irl"),
    equal=("one reward", "by kind", "dr-irl"),
    settings=(("demonstrations", f"{SHOWN}, evenly of {len(KINDS)} kinds"), ("steps", str(STEPS)), ("prompts x answers", f"{BATCH} x {GROUP}"),
              ("lr", f"{LR}, cosine"), ("kl", str(KL))),
)  # fmt: skip


@lru_cache(maxsize=1)
def shown(seed: int) -> list[Example]:
    return demonstrations(tasks(SHOWN, seed=seed + 31), seed)


def learned(seed: int, kind: str | None = None) -> Reward:
    """A reward that tells demonstrations (of this kind) from the base policy's answers."""

    def make() -> BradleyTerry:
        examples = [e for e in shown(seed) if kind in (None, e.columns["kind"])]
        return reward_model(irl_pairs(policy(), examples, SAMPLING, seed=seed), seed=seed, epochs=8)

    return kept(f"letters irl {SHOWN} {kind}", seed, make, BradleyTerry.save, _load)


def _load(folder: Path) -> BradleyTerry:
    return BradleyTerry.load(folder).eval()


def by_kind(seed: int) -> Reward:
    return routed("kind", {kind: learned(seed, kind) for kind in KINDS})


def asked(seed: int) -> list[Task]:
    """Requests with a demonstration beside each."""
    some = requests(seed)
    return [t.model_copy(update={"columns": {**t.columns, "demonstration": d.completion}})
            for t, d in zip(some, demonstrations(some, seed), strict=True)]  # fmt: skip


def grpo(reward: Callable[[int], Reward]) -> Callable[[LanguagePolicy, int], Rollout]:
    """As dear as the treatment: what it looks at beside the reward is computed here too, and logged."""
    return lambda p, seed: GRPO(p, BesideDemonstrations(reward(seed)), kl=KL, group_size=GROUP, sampling=SAMPLING)


def scaled(trained: LanguagePolicy, seed: int) -> Rollout:
    return DRIRL(
        trained, BesideDemonstrations(by_kind(seed)), category="kind", kl=KL, group_size=GROUP, sampling=SAMPLING
    )


def learning(make: Callable[[LanguagePolicy, int], Rollout], lr: float) -> Arm:
    return letters_arms.learned(make, asked, steps=STEPS, batch_size=BATCH, lr=lr)


MAKERS = {
    "one reward": partial(learning, grpo(learned)),
    "by kind": partial(learning, grpo(by_kind)),
    "dr-irl": partial(learning, scaled),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, letters_arms.FASTER)
