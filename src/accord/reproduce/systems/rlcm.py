"""23 RLCM: is policy gradient on a consistency model's four steps better than DDPO's on the diffusion model, at equal compute?"""

from dataclasses import replace
from typing import Any

from accord.algorithms import DDPO, RLCM
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import SAMPLING, Teach, asked, held_out, liked, train, watched
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.worlds.portraits import policy
from accord.worlds.portraits.generator import Kind

LR, LRS, CLIP = {"ddpo": 1e-2, "rlcm": 3e-3}, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), 1e-3
SHORT = Denoising(steps=4, guidance=1.0, average=True)
HALF = Denoising(steps=2, guidance=1.0, average=True)
SHORT_UPDATES, LONG_UPDATES, PROMPTS, GROUP = 32, 16, 8, 4
LONG = replace(SAMPLING, average=True)
"""Every update sees all prompts, and both methods take a prompt's own statistics from the first on (`min_count` is a group): with
the published 16 only the method with more updates would ever get them."""

CLAIM = Claim(
    name="rlcm",
    world="portraits",
    statement="At equal compute RLCM on 4 consistency steps gains more gold over its base than DDPO on 8 diffusion steps over its own, and "
    "ends with more; with 2 steps it keeps four fifths of its gain.",
    primaries=(Primary("rlcm", "ddpo", measure="gain"), Primary("rlcm", "ddpo"), Primary("rlcm", "base", "not worse", measure="kept")),
    arms=("base", "ddpo", "rlcm"),
    equal=("ddpo", "rlcm"),
    settings=(
        ("updates", f"{SHORT_UPDATES} / {LONG_UPDATES}, 2 passes each"),
        ("prompts x samples", f"{PROMPTS} x {GROUP}, all prompts in each update"),
        ("statistics", f"of a prompt, from {GROUP} rewards on"),
        ("lr", f"{LR}, of {LRS}, cosine"),
        ("clip", f"{CLIP} on means over the latent"),
        ("reward", "attribute reader, told of the taste, and structure, as a black box"),
    ),
)  # fmt: skip


def gains(kind: Kind, sampling: Denoising, teach: Teach | None = None, *, few: bool = True) -> Arm:
    """A policy of this kind, taught so, with what its gold gained.

    Args:
        few: whether it takes few steps: then it is asked, too, how much more than four fifths of the gain half of them keep.
    """

    def arm(seed: int) -> Measures:
        trained = policy(kind, lora=8, seed=luck(seed))

        def seen(sampling: Denoising, **more: Any) -> Measures:
            return held_out(trained, seed, sampling=sampling, **more)

        start = seen(sampling)["gold"]
        halved = seen(HALF)["gold"] if few else 0.0
        if teach is not None:
            teach(trained, seed)
        found = seen(sampling, proxy=liked(seed))
        gain = found["gold"] - start
        kept = seen(HALF)["gold"] - halved - 0.8 * gain if few and teach is not None else 0.0
        return {**found, "gain": gain, "kept": kept}

    return arm


def updates(make: Any, sampling: Denoising, steps: int, lr: float) -> Teach:
    def teach(trained: DiffusionPolicy, seed: int) -> None:
        algorithm = make(trained, liked(seed), sampling=sampling, group_size=GROUP, min_count=GROUP, clip=CLIP)
        train(algorithm, asked(PROMPTS, seed), seed, steps=steps, batch_size=PROMPTS, lr=lr, inner_epochs=2,
              evaluate=watched(trained, seed, sampling))  # fmt: skip

    return teach


MAKERS: dict[str, Maker] = {
    "ddpo": lambda lr: gains("unet", LONG, updates(DDPO, LONG, LONG_UPDATES, lr), few=False),
    "rlcm": lambda lr: gains("consistency", SHORT, updates(RLCM, SHORT, SHORT_UPDATES, lr)),
}
ARMS = {"base": gains("consistency", SHORT), **at_best(MAKERS, LR)}
TUNING = at_rates(MAKERS, LRS)
