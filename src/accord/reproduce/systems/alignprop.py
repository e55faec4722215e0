"""21 AlignProp: does the reward's own gradient need a fifth of DDPO's compute, and does random truncation keep what full backprop loses?"""

from dataclasses import replace

from accord.algorithms import DDPO, AlignProp
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Claim, Primary
from accord.reproduce.portraits import SAMPLING, Teach, arm, asked, liked, train, watched

STEPS, BATCH, LR, CLIP = 100, 8, 5e-4, 5.0
"""Gradients are clipped at the card's 5: a norm of 1 would touch most updates, where it is bursts of ten times the median that
end a run."""
FIFTH, FIFTH_LR = 20, 1e-3
DDPO_STEPS, DDPO_BATCH, DDPO_GROUP, DDPO_LR, DDPO_CLIP = 24, 4, 4, 5e-4, 1e-3
AVERAGED = replace(SAMPLING, average=True)

CLAIM = Claim(
    name="alignprop",
    world="portraits",
    statement="With equal compute AlignProp's gold exceeds DDPO's, with a fifth of it its reward is not below DDPO's, and full backprop shows "
    "less diversity than truncation at random.",
    primaries=(
        Primary("alignprop", "ddpo"),
        Primary("fifth", "ddpo", "not worse", measure="proxy", delta=0.1),
        Primary("alignprop", "full", measure="diversity", delta=0.02),
    ),
    arms=("ddpo", "alignprop", "fifth", "full", "last"),
    equal=("ddpo", "alignprop"),
    settings=(
        ("updates", f"{STEPS}, fifth {FIFTH}"),
        ("batch", str(BATCH)),
        ("steps", str(SAMPLING.steps)),
        ("lr", f"{LR}, fifth {FIFTH_LR}; cosine"),
        ("gradients clipped at", str(CLIP)),
        ("reward", "attribute reader, told of the taste, and structure"),
        ("ddpo", f"{DDPO_STEPS} x {DDPO_BATCH} x {DDPO_GROUP} samples, 2 passes, lr {DDPO_LR}, clip {DDPO_CLIP}, statistics of the batch"),
    ),
)  # fmt: skip


def ddpo(lr: float = DDPO_LR) -> Teach:
    def teach(trained: DiffusionPolicy, seed: int) -> None:
        algorithm = DDPO(trained, liked(seed), group_size=DDPO_GROUP, clip=DDPO_CLIP, sampling=AVERAGED)
        train(algorithm, asked(300, seed), seed, steps=DDPO_STEPS, batch_size=DDPO_BATCH, lr=lr, inner_epochs=2,
              evaluate=watched(trained, seed))  # fmt: skip

    return teach


def backprop(truncation: str = "random-last", steps: int = STEPS, lr: float = LR, clip: float = CLIP) -> Teach:
    def teach(trained: DiffusionPolicy, seed: int) -> None:
        algorithm = AlignProp(trained, liked(seed), truncation=truncation, sampling=SAMPLING, recompute=False)
        train(algorithm, asked(300, seed), seed, steps=steps, batch_size=BATCH, lr=lr, max_grad_norm=clip,
              evaluate=watched(trained, seed))  # fmt: skip

    return teach


ARMS = {
    "ddpo": arm(ddpo()),
    "alignprop": arm(backprop()),
    "fifth": arm(backprop(steps=FIFTH, lr=FIFTH_LR)),
    "full": arm(backprop("full")),
    "last": arm(backprop("last:1")),
}
LRS = (5e-4, 1e-3, 2e-3)
TUNING = {
    **{f"{rule} {lr:g}": arm(backprop(rule, lr=lr)) for rule in ("random-last", "per-step") for lr in LRS},
    "random-last 0.001 clipped at 1": arm(backprop(lr=1e-3, clip=1.0)),
    **{f"ddpo {lr:g}": arm(ddpo(lr)) for lr in LRS},
}
