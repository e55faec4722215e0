"""21 AlignProp: does the reward's own gradient need a fifth of DDPO's compute, and does random truncation keep what full backprop loses?"""

from typing import Any

from accord.algorithms import GRPO, AlignProp
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import SAMPLING, Tasteful, asked, held_out, oracle, train
from accord.rewards import Reward
from accord.worlds.portraits import PromptReader, policy

STEPS, BATCH, LR, TESTS = 50, 8, 5e-4, 192
FIFTH = 10
DDPO_STEPS, DDPO_BATCH, DDPO_LR = 12, 4, 5e-4

CLAIM = Claim(
    name="alignprop",
    statement="With a fifth of the compute AlignProp's proxy is not below DDPO's, with equal compute its gold exceeds DDPO's, and full "
    "backprop shows less diversity than truncation at random.",
    primaries=(
        Primary("alignprop", "ddpo"),
        Primary("fifth", "ddpo", measure="proxy"),
        Primary("alignprop", "full", measure="diversity"),
    ),
    arms=("base", "oracle", "ddpo", "alignprop", "fifth", "full", "last", "placebo"),
    equal=("ddpo", "alignprop", "placebo"),
    settings=(
        ("updates", str(STEPS)),
        ("batch", str(BATCH)),
        ("steps", str(SAMPLING.steps)),
        ("lr", str(LR)),
        ("reward", "attribute reader, told of the taste"),
        ("ddpo", f"{DDPO_STEPS} x {DDPO_BATCH} x 4 samples, lr {DDPO_LR}"),
        ("tests", f"{TESTS} pictures"),
    ),
    first_seed=200,
)  # fmt: skip


def run(arm: str, seed: int) -> Measures:
    trained, reward = policy(lora=8), Tasteful(PromptReader(), seed)
    if arm == "oracle":
        oracle(trained, seed)
    elif arm != "base":
        steps = {"ddpo": DDPO_STEPS, "fifth": FIFTH}.get(arm, STEPS)
        train(algorithm(arm, trained, reward), asked(300, seed), seed, steps=steps, batch_size=DDPO_BATCH if arm == "ddpo" else BATCH, lr=DDPO_LR if arm == "ddpo" else LR, other=arm == "placebo",
              inner_epochs=2 if arm == "ddpo" else 1)  # fmt: skip
    return held_out(trained, seed, proxy=reward, n=TESTS, tries=4 if arm == "oracle" else 1)


def algorithm(arm: str, trained: Any, reward: Reward) -> Any:
    if arm == "ddpo":
        return GRPO(trained, reward, group_size=4, sampling=SAMPLING, reference=None)
    truncation: Any = {"full": "full", "last": 1}.get(arm, "per-step")
    return AlignProp(trained, reward, truncation=truncation, sampling=SAMPLING, recompute=False)
