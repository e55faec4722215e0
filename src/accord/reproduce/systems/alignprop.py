"""21 AlignProp: does the reward's own gradient need a fifth of DDPO's compute, and does random truncation keep what full backprop loses?"""

from typing import Any

from accord.algorithms import GRPO, AlignProp, ReFL
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import PLAIN, STOCHASTIC, GoldGradient, asked, held_out, train
from accord.rewards import Reward, combine
from accord.worlds.portraits import Looks, PromptReader, policy

STEPS, BATCH, LR = 40, 8, 1e-3
FIFTH = 8
DDPO_STEPS = 14

CLAIM = Claim(
    name="alignprop",
    statement="With a fifth of the compute AlignProp's proxy is not below DDPO's, with equal compute its gold exceeds DDPO's, and full "
    "backprop shows less diversity than truncation at random.",
    primaries=(
        Primary("alignprop", "ddpo"),
        Primary("fifth", "ddpo", measure="proxy"),
        Primary("alignprop", "full", measure="diversity"),
    ),
    arms=("base", "oracle", "ddpo", "alignprop", "fifth", "full", "last", "refl", "placebo"),
    equal=("ddpo", "alignprop", "placebo"),
    settings=(
        ("updates", str(STEPS)),
        ("batch", str(BATCH)),
        ("steps", str(PLAIN.steps)),
        ("lr", str(LR)),
        ("reward", "attribute reader + 0.02 looks"),
        ("ddpo", f"{DDPO_STEPS} x 8 x 4 samples"),
    ),
)  # fmt: skip


def run(arm: str, seed: int) -> Measures:
    trained, reward = policy(lora=8), proxy()
    if arm != "base":
        steps = {"ddpo": DDPO_STEPS, "fifth": FIFTH}.get(arm, STEPS)
        train(algorithm(arm, trained, reward), asked(300, seed), seed, steps=steps, batch_size=BATCH, lr=LR, other=arm == "placebo",
              inner_epochs=2 if arm == "ddpo" else 1)  # fmt: skip
    return held_out(trained, seed, sampling=PLAIN, proxy=reward)


def proxy() -> Reward:
    return combine({"prompt": PromptReader(), "looks": Looks()}, weights={"prompt": 1.0, "looks": 0.02})


def algorithm(arm: str, trained: Any, reward: Reward) -> Any:
    if arm == "ddpo":
        return GRPO(trained, reward, group_size=4, sampling=STOCHASTIC, reference=None)
    if arm == "refl":
        return ReFL(trained, reward, last=3, sampling=PLAIN, recompute=False)
    truncation: Any = {"full": "full", "last": 1}.get(arm, "per-step")
    return AlignProp(
        trained, GoldGradient() if arm == "oracle" else reward, truncation=truncation, sampling=PLAIN, recompute=False
    )
