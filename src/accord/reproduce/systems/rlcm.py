"""23 RLCM: is policy gradient on a consistency model's four steps better than DDPO's on the diffusion model, at equal compute?"""

from typing import Any

from accord.algorithms import DDPO, RLCM
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import Tasteful, Teach, asked, held_out, train, watched
from accord.worlds.portraits import PromptReader, policy
from accord.worlds.portraits.generator import Kind

LR, CLIP, FEW, TESTS = 5e-4, 1e-3, 12, 192
SHORT = Denoising(steps=4, guidance=1.0, average=True)
HALF = Denoising(steps=2, guidance=1.0, average=True)
LONG = Denoising(steps=16, guidance=1.0, eta=1.0, average=True)
SHORT_UPDATES, LONG_UPDATES, PROMPTS, GROUP = 24, 6, 6, 4

CLAIM = Claim(
    name="rlcm",
    world="portraits",
    statement="At equal compute RLCM on 4 consistency steps gains more gold over its base than DDPO on 16 diffusion steps over its own, and "
    "with 2 steps it keeps four fifths of its gain.",
    primaries=(Primary("rlcm", "ddpo", measure="gain"), Primary("rlcm", "base", "not worse", measure="kept")),
    arms=("base", "ddpo", "rlcm"),
    equal=("ddpo", "rlcm"),
    settings=(
        ("updates", f"{SHORT_UPDATES} / {LONG_UPDATES}"),
        ("prompts x samples", f"{PROMPTS} x {GROUP}"),
        ("lr", str(LR)),
        ("clip", f"{CLIP} on means over the latent"),
        ("prompts", str(FEW)),
        ("reward", "attribute reader, as a black box"),
        ("tests", f"{TESTS} pictures"),
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
            return held_out(trained, seed, sampling=sampling, n=TESTS, **more)

        start = seen(sampling)["gold"]
        halved = seen(HALF)["gold"] if few else 0.0
        if teach is not None:
            teach(trained, seed)
        found = seen(sampling, proxy=Tasteful(PromptReader(), seed))
        gain = found["gold"] - start
        kept = seen(HALF)["gold"] - halved - 0.8 * gain if few and teach is not None else 0.0
        return {**found, "gain": gain, "kept": kept}

    return arm


def updates(make: Any, sampling: Denoising, steps: int) -> Teach:
    def teach(trained: DiffusionPolicy, seed: int) -> None:
        algorithm = make(trained, Tasteful(PromptReader(), seed), sampling=sampling, group_size=GROUP, clip=CLIP)
        train(algorithm, asked(FEW, seed), seed, steps=steps, batch_size=PROMPTS, lr=LR, inner_epochs=2,
              evaluate=watched(trained, seed, sampling))  # fmt: skip

    return teach


ARMS = {
    "base": gains("consistency", SHORT),
    "ddpo": gains("unet", LONG, updates(DDPO, LONG, LONG_UPDATES), few=False),
    "rlcm": gains("consistency", SHORT, updates(RLCM, SHORT, SHORT_UPDATES)),
}
