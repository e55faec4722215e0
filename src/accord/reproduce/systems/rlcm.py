"""23 RLCM: is policy gradient on a consistency model's four steps better than DDPO's on the diffusion model, at equal compute?"""

from typing import Any

from accord.algorithms import DDPO, RLCM
from accord.policies.diffusion import Denoising
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import Tasteful, asked, held_out, oracle, train
from accord.worlds.portraits import PromptReader, policy

LR, CLIP, FEW, TESTS = 5e-4, 1e-3, 12, 192
SHORT = Denoising(steps=4, guidance=1.0, average=True)
LONG = Denoising(steps=16, guidance=1.0, eta=1.0, average=True)
SHORT_UPDATES, LONG_UPDATES, PROMPTS, GROUP = 24, 6, 6, 4

CLAIM = Claim(
    name="rlcm",
    statement="At equal compute RLCM on 4 consistency steps gains more gold over its base than DDPO on 16 diffusion steps over its own, and "
    "with 2 steps it keeps four fifths of its gain.",
    primaries=(Primary("rlcm", "ddpo", measure="gain"), Primary("rlcm", "base", measure="kept")),
    arms=("base", "oracle", "ddpo", "rlcm", "placebo"),
    equal=("ddpo", "rlcm", "placebo"),
    settings=(
        ("updates", f"{SHORT_UPDATES} / {LONG_UPDATES}"),
        ("prompts x samples", f"{PROMPTS} x {GROUP}"),
        ("lr", str(LR)),
        ("clip", f"{CLIP} on means over the latent"),
        ("prompts", str(FEW)),
        ("reward", "attribute reader, as a black box"),
        ("tests", f"{TESTS} pictures"),
    ),
    first_seed=200,
)  # fmt: skip


def run(arm: str, seed: int) -> Measures:
    long = arm == "ddpo"
    trained = policy("unet" if long else "consistency", lora=8)
    sampling = LONG if long else SHORT
    half = Denoising(steps=2, guidance=1.0, average=True)

    def seen(sampling: Denoising, **more: Any) -> Measures:
        return held_out(trained, seed, sampling=sampling, n=TESTS, **more)

    start = seen(sampling)["gold"]
    halved = 0.0 if long else seen(half)["gold"]
    if arm == "oracle":
        oracle(trained, seed, sampling=SHORT)
    elif arm != "base":
        reward = Tasteful(PromptReader(), seed)
        make: Any = DDPO if long else RLCM
        algorithm = make(trained, reward, sampling=sampling, group_size=GROUP, clip=CLIP)
        train(algorithm, asked(FEW, seed), seed, steps=LONG_UPDATES if long else SHORT_UPDATES, batch_size=PROMPTS, lr=LR, inner_epochs=2,
              other=arm == "placebo")  # fmt: skip
    found = seen(sampling, proxy=Tasteful(PromptReader(), seed), tries=4 if arm == "oracle" else 1)
    gain = found["gold"] - start
    # How much more than four fifths of the gain is left with half the steps.
    kept = 0.0 if long or arm == "base" else seen(half)["gold"] - halved - 0.8 * gain
    return {**found, "gain": gain, "kept": kept}
