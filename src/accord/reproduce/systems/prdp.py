"""11 PRDP: is predicting reward differences as good as DDPO on few prompts, and better on many that are rarely seen?"""

from collections.abc import Callable
from typing import Any

from accord.algorithms import GRPO, PRDP
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.portraits import PRICE, SAMPLING, Tasteful, arm, asked, drawn, quality, train, watched
from accord.rewards import Reward
from accord.worlds.portraits import PromptReader
from accord.worlds.portraits.gold import gold

STEPS, BATCH, GROUP, LR, BETA, CLIP, TESTS = 15, 4, 6, 1e-3, 0.02, 0.5, 192
FEW, MANY = 8, 400

CLAIM = Claim(
    name="prdp",
    world="portraits",
    statement="Trained on 400 prompts, each seen at most once or twice, PRDP's gold on held-out prompts exceeds DDPO's with statistics "
    "of each prompt's group; on 8 prompts it is not worse.",
    primaries=(Primary("prdp", "ddpo"), Primary("prdp-few", "ddpo-few", "not worse", measure="seen")),
    arms=("ddpo", "prdp", "ddpo-few", "prdp-few"),
    equal=("ddpo", "prdp", "ddpo-few", "prdp-few"),
    settings=(
        ("updates", f"{STEPS} x 2 epochs"),
        ("prompts x samples", f"{BATCH} x {GROUP}"),
        ("lr", str(LR)),
        ("beta", str(BETA)),
        ("clip", str(CLIP)),
        ("reward", "attribute reader, as a black box"),
        ("tests", f"{TESTS} pictures"),
    ),
)  # fmt: skip


def taught(make: Callable[[Any, Reward], Any], prompts: int = MANY) -> Arm:
    """By what `make` makes of a policy and a reward, on so many prompts."""

    def teach(trained: DiffusionPolicy, seed: int) -> None:
        train(make(trained, Tasteful(PromptReader(), seed)), asked(prompts, seed), seed, steps=STEPS, batch_size=BATCH,
              inner_epochs=2, lr=LR, evaluate=watched(trained, seed))  # fmt: skip

    return arm(teach, n=TESTS, more=seen)


def seen(trained: DiffusionPolicy, seed: int) -> Measures:
    """Gold on the few prompts that some arms train on."""
    few = asked(FEW, seed) * (TESTS // FEW)
    return {"seen": quality(few, drawn(trained, few, seed, SAMPLING), judge=Tasteful(gold, seed))["gold"]}


def ddpo(trained: Any, reward: Reward) -> Any:
    return GRPO(trained, reward, normalise="tokens", kl=PRICE, group_size=GROUP, sampling=SAMPLING)


def prdp(trained: Any, reward: Reward) -> Any:
    return PRDP(trained, reward, beta=BETA, clip=CLIP, reduce="mean", group_size=GROUP, sampling=SAMPLING)


ARMS = {
    "ddpo": taught(ddpo),
    "prdp": taught(prdp),
    "ddpo-few": taught(ddpo, FEW),
    "prdp-few": taught(prdp, FEW),
}
