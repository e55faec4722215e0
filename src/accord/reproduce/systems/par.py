"""38 PAR: does a bounded, centred reward keep the true quality where raw and standardised ones collapse?

REINFORCE with a leave-one-out baseline (not GRPO, whose division by the group's std would undo affine reshaping),
on a reward model whose annotators over-value flattery and length.
"""

from collections.abc import Callable
from functools import lru_cache

from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import base, on_policy, proxy, rloo
from accord.rewards import References, Reward, par, standardise
from accord.worlds.letters import policy, tasks
from accord.worlds.letters.feedback import SAMPLING

STEPS, LR = 60, 5e-4
MATCHED_KL = 0.08
"""KL weight with which, on tuning seed 1000, the raw reward ended as far from the base as PAR (KL 3.6 at 0.1, 10.3 at
0.05; PAR 5.1): shrinking a reward to (0, 1) strengthens the same KL weight, so that alone must not pass for an effect."""

CLAIM = Claim(
    name="par",
    world="letters",
    statement="At equal steps and samples, PAR's final gold is above that of the raw and of the standardised reward, "
    "above the raw reward's at a KL weight that matches PAR's final KL, and within 0.03 of its own peak.",
    primaries=(
        Primary("par", "vanilla"),
        Primary("par", "standardised"),
        Primary("par", "vanilla-kl"),
        Primary("par", "base", "not worse", measure="drop", sign=-1, delta=0.03),
    ),
    arms=("base", "vanilla", "standardised", "vanilla-kl", "par"),
    equal=("vanilla", "standardised", "vanilla-kl", "par"),
    collapses="vanilla",
    settings=(
        ("steps", str(STEPS)),
        ("lr", str(LR)),
        ("kl", f"0.02; vanilla-kl {MATCHED_KL}"),
        ("samples a step", "8 x 4"),
    ),
)


@lru_cache(maxsize=2)
def references(seed: int, m: int) -> References:
    """Scores of m base answers to each training request, drawn once."""
    with metered():
        prompts = [t.prompt for t in tasks(400, seed=seed + 1)]
        return References.sample(proxy(seed), policy(), prompts, m, SAMPLING, seed=seed)


def trained_on(make: Callable[[int], Reward], kl: float = 0.02) -> Arm:
    """The policy after training on the reward that `make` makes of a seed."""

    def arm(seed: int) -> Measures:
        return on_policy(rloo(kl), make(seed), seed, steps=STEPS, lr=LR)

    return arm


def centred(seed: int) -> Reward:
    return par(proxy(seed), references(seed, 1))


ARMS = {
    "base": base,
    "vanilla": trained_on(proxy),
    "standardised": trained_on(lambda seed: standardise(proxy(seed))),
    "vanilla-kl": trained_on(proxy, MATCHED_KL),
    "par": trained_on(centred),
}
