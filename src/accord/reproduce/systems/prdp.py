"""11 PRDP: is predicting reward differences as good as DDPO on few prompts, and better on many that are rarely seen?"""

from typing import Any

from accord.algorithms import GRPO, PRDP
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import SAMPLING, Tasteful, asked, drawn, held_out, oracle, quality, train
from accord.rewards import Reward
from accord.worlds.portraits import PromptReader, policy
from accord.worlds.portraits.gold import gold

STEPS, BATCH, GROUP, LR, BETA, CLIP, TESTS = 15, 4, 6, 1e-3, 0.02, 0.5, 192
FEW, MANY = 8, 400

CLAIM = Claim(
    name="prdp",
    statement="Trained on 400 prompts, each seen at most once or twice, PRDP's gold on held-out prompts exceeds DDPO's with statistics "
    "of each prompt's group; on 8 prompts it is not worse.",
    primaries=(Primary("prdp", "ddpo"), Primary("prdp-few", "ddpo-few", margin="not worse", measure="seen")),
    arms=("base", "oracle", "ddpo", "prdp", "ddpo-few", "prdp-few", "placebo"),
    equal=("ddpo", "prdp", "ddpo-few", "prdp-few", "placebo"),
    settings=(
        ("updates", f"{STEPS} x 2 epochs"),
        ("prompts x samples", f"{BATCH} x {GROUP}"),
        ("lr", str(LR)),
        ("beta", str(BETA)),
        ("clip", str(CLIP)),
        ("reward", "attribute reader, as a black box"),
        ("tests", f"{TESTS} pictures"),
    ),
    first_seed=200,
)  # fmt: skip


def run(arm: str, seed: int) -> Measures:
    trained = policy(lora=8)
    texts = asked(FEW if arm.endswith("few") else MANY, seed)
    if arm == "oracle":
        oracle(trained, seed)
    elif arm != "base":
        reward = Tasteful(PromptReader(), seed)
        train(
            algorithm(arm, trained, reward),
            texts,
            seed,
            steps=STEPS,
            batch_size=BATCH,
            inner_epochs=2,
            lr=LR,
            other=arm == "placebo",
        )
    found = held_out(trained, seed, proxy=Tasteful(PromptReader(), seed), n=TESTS, tries=4 if arm == "oracle" else 1)
    few = asked(FEW, seed) * (TESTS // FEW)
    return {**found, "seen": quality(few, drawn(trained, few, seed, SAMPLING), judge=Tasteful(gold, seed))["gold"]}


def algorithm(arm: str, trained: Any, reward: Reward) -> Any:
    options: Any = {"group_size": GROUP, "sampling": SAMPLING}
    if arm.startswith("ddpo"):
        # The reference's pass is PRDP's price: DDPO pays it too, as a measured KL.
        return GRPO(trained, reward, normalise="tokens", **options)
    return PRDP(trained, reward, beta=BETA, clip=CLIP, reduce="mean", **options)
