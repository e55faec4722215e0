"""38 PAR: does a bounded, centred reward keep the true quality where raw and standardised ones collapse?

REINFORCE with a leave-one-out baseline (not GRPO, whose division by the group's std would undo affine reshaping),
on a reward model of people who over-value flattery and length so much that the raw reward certainly ends below the base. As
published, answers that run on towards the length limit lose a little of the raw score before it is shaped.
"""

from collections.abc import Callable
from pathlib import Path

from accord.engine.run import load_tensors, save_tensors
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters import base, looked_at, on_policy, proxy, requests, rloo
from accord.rewards import BradleyTerry, References, Reward, combine, length_penalty, par, standardise
from accord.worlds.letters import policy
from accord.worlds.letters.feedback import SAMPLING

STEPS, LR, KL = 60, 5e-4, 0.02
MATCHED_KL = 0.2
MATCHES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""KL weights among which, on tuning seeds, the raw reward ends nearest to where PAR does: shrinking a reward to (0, 1) strengthens
the same KL weight, so that alone must not pass for an effect."""
FREE_WORDS, PER_WORD = 28, 0.1
"""At the length limit the penalty is 2, as 0.01 for each of 512 tokens beyond 300 is in the paper."""

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
        ("lr", f"{LR}, cosine"),
        ("kl", f"{KL}; vanilla-kl {MATCHED_KL} of {MATCHES}"),
        ("samples a step", "16 x 4"),
        ("people's flaws", "ruinous"),
        ("length penalty", f"{PER_WORD} a word beyond {FREE_WORDS}"),
    ),
)


def learned(seed: int) -> BradleyTerry:
    return proxy(seed, flaw="ruinous")


def raw(seed: int) -> Reward:
    """The learned reward less the length penalty."""
    return combine({"learned": learned(seed), "length": length_penalty(FREE_WORDS, per=PER_WORD)})


def references(seed: int) -> References:
    """Score of one base answer to each request, in training and where a run is watched; nobody's length is held against it."""

    def make() -> References:
        prompts = [t.prompt for t in (*requests(seed), *looked_at(seed))]
        return References.sample(learned(seed), policy(), prompts, 1, SAMPLING, seed=seed)

    def save(made: References, folder: Path) -> None:
        save_tensors(folder / "scores.safetensors", made.scores)

    return kept(
        "par references", seed, make, save, lambda folder: References(load_tensors(folder / "scores.safetensors"))
    )


def trained_on(make: Callable[[int], Reward], kl: float = KL) -> Arm:
    """The policy after training on the reward that `make` makes of a seed."""

    def arm(seed: int) -> Measures:
        return on_policy(rloo(kl), make(seed), seed, steps=STEPS, lr=LR)

    return arm


def centred(seed: int) -> Reward:
    return par(raw(seed), references(seed))


ARMS = {
    "base": base,
    "vanilla": trained_on(raw),
    "standardised": trained_on(lambda seed: standardise(raw(seed))),
    "vanilla-kl": trained_on(raw, MATCHED_KL),
    "par": trained_on(centred),
}
TUNING = {f"vanilla-kl {kl}": trained_on(raw, kl) for kl in MATCHES}
