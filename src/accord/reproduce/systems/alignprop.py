"""21 AlignProp: does the reward's own gradient need a fifth of DDPO's compute, and does random truncation keep what full backprop loses?"""

from accord.algorithms import GRPO, AlignProp
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Claim, Primary
from accord.reproduce.portraits import SAMPLING, Tasteful, Teach, arm, asked, train, watched
from accord.worlds.portraits import PromptReader

STEPS, BATCH, LR, TESTS = 50, 8, 5e-4, 192
FIFTH = 10
DDPO_STEPS, DDPO_BATCH, DDPO_LR = 12, 4, 5e-4

CLAIM = Claim(
    name="alignprop",
    world="portraits",
    statement="With a fifth of the compute AlignProp's proxy is not below DDPO's, with equal compute its gold exceeds DDPO's, and full "
    "backprop shows less diversity than truncation at random.",
    primaries=(
        Primary("alignprop", "ddpo"),
        Primary("fifth", "ddpo", "not worse", measure="proxy", delta=0.1),
        Primary("alignprop", "full", measure="diversity", delta=0.02),
    ),
    arms=("ddpo", "alignprop", "fifth", "full", "last"),
    equal=("ddpo", "alignprop"),
    settings=(
        ("updates", str(STEPS)),
        ("batch", str(BATCH)),
        ("steps", str(SAMPLING.steps)),
        ("lr", str(LR)),
        ("reward", "attribute reader, told of the taste"),
        ("ddpo", f"{DDPO_STEPS} x {DDPO_BATCH} x 4 samples, lr {DDPO_LR}"),
        ("tests", f"{TESTS} pictures"),
    ),
)  # fmt: skip


def ddpo(trained: DiffusionPolicy, seed: int) -> None:
    algorithm = GRPO(trained, Tasteful(PromptReader(), seed), group_size=4, sampling=SAMPLING, reference=None)
    train(algorithm, asked(300, seed), seed, steps=DDPO_STEPS, batch_size=DDPO_BATCH, lr=DDPO_LR, inner_epochs=2,
          evaluate=watched(trained, seed))  # fmt: skip


def backprop(truncation: str = "per-step", steps: int = STEPS) -> Teach:
    def teach(trained: DiffusionPolicy, seed: int) -> None:
        reward = Tasteful(PromptReader(), seed)
        algorithm = AlignProp(trained, reward, truncation=truncation, sampling=SAMPLING, recompute=False)
        train(algorithm, asked(300, seed), seed, steps=steps, batch_size=BATCH, lr=LR, evaluate=watched(trained, seed))

    return teach


ARMS = {
    "ddpo": arm(ddpo, n=TESTS),
    "alignprop": arm(backprop(), n=TESTS),
    "fifth": arm(backprop(steps=FIFTH), n=TESTS),
    "full": arm(backprop("full"), n=TESTS),
    "last": arm(backprop("last:1"), n=TESTS),
}
