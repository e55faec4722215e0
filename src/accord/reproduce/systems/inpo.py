"""14 InPO: do preferences teach more at the latents the model itself would make the pictures from than at random ones?"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from accord.algorithms import DiffusionDPO, InPO, Supervised
from accord.feedback import Comparison
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Primary
from accord.reproduce.portraits import arm, pairs, train, watched

PAIRS, STEPS, BATCH, LR, TESTS = 300, 120, 8, 1e-3, 192
DPO_BETA, BETA = 200.0, 50.0
"""By gold on tuning seeds 1000 and 1001, of 50, 200, 1000 and 5000 for Diffusion-DPO, of 50, 200 and 1000 for InPO; not all on both."""
COSTLIER = 3.2
"""What an InPO update costs in Diffusion-DPO's, inversion and all: measured by the meter on tuning seed 1000."""

CLAIM = Claim(
    name="inpo",
    world="portraits",
    statement="On 300 noisy comparisons, InPO's gold on held-out prompts exceeds Diffusion-DPO's after equal updates, and is not worse "
    "than Diffusion-DPO's after as many network calls.",
    primaries=(Primary("inpo", "dpo"), Primary("inpo", "dpo-long", "not worse")),
    arms=("sft", "dpo", "dpo-long", "inpo"),
    equal=("dpo-long", "inpo"),
    settings=(
        ("pairs", str(PAIRS)),
        ("label noise", "0.1"),
        ("updates", f"{STEPS}, dpo-long {round(STEPS * COSTLIER)}"),
        ("batch", str(BATCH)),
        ("lr", str(LR)),
        ("beta", f"{BETA}, dpo {DPO_BETA}"),
        ("tests", f"{TESTS} pictures"),
    ),
)


@lru_cache(maxsize=1)
def comparisons(seed: int) -> list[Comparison]:
    return pairs(seed, PAIRS)


def taught(make: Callable[[Any], Any], steps: int = STEPS) -> Arm:
    """By what `make` makes of a policy, from the seed's comparisons."""

    def teach(trained: DiffusionPolicy, seed: int) -> None:
        train(make(trained), comparisons(seed), seed, steps=steps, batch_size=BATCH, lr=LR,
              evaluate=watched(trained, seed))  # fmt: skip

    return arm(teach, n=TESTS)


dpo, inpo = partial(DiffusionDPO, beta=DPO_BETA), partial(InPO, beta=BETA)

ARMS = {
    "sft": taught(Supervised),
    "dpo": taught(dpo),
    "dpo-long": taught(dpo, round(STEPS * COSTLIER)),
    "inpo": taught(inpo),
}
