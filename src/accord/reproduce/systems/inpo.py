"""14 InPO: do preferences teach more at the latents the model itself would make the pictures from than at random ones?"""

from functools import lru_cache
from typing import Any

from accord.algorithms import DiffusionDPO, InPO, Supervised
from accord.feedback import Comparison
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import Tasteful, held_out, oracle, pairs, train
from accord.worlds.portraits import PromptReader, policy

PAIRS, STEPS, BATCH, LR, TESTS = 300, 120, 8, 1e-3, 192
DPO_BETA, BETA = 200.0, 50.0
"""By gold on tuning seeds 1000 and 1001, of 50, 200, 1000 and 5000 for Diffusion-DPO, of 50, 200 and 1000 for InPO; not all on both."""
COSTLIER = 3.2
"""What an InPO update costs in Diffusion-DPO's, inversion and all: measured by the meter on tuning seed 1000."""

CLAIM = Claim(
    name="inpo",
    statement="On 300 noisy comparisons, InPO's gold on held-out prompts exceeds Diffusion-DPO's after equal updates, and is not worse "
    "than Diffusion-DPO's after as many network calls.",
    primaries=(Primary("inpo", "dpo"), Primary("inpo", "dpo-long", margin="not worse")),
    arms=("base", "oracle", "sft", "dpo", "dpo-long", "inpo", "placebo"),
    equal=("dpo-long", "inpo", "placebo"),
    settings=(
        ("pairs", str(PAIRS)),
        ("label noise", "0.1"),
        ("updates", f"{STEPS}, dpo-long {round(STEPS * COSTLIER)}"),
        ("batch", str(BATCH)),
        ("lr", str(LR)),
        ("beta", f"{BETA}, dpo {DPO_BETA}"),
        ("tests", f"{TESTS} pictures"),
    ),
    first_seed=200,
)


@lru_cache(maxsize=1)
def comparisons(seed: int) -> list[Comparison]:
    return pairs(seed, PAIRS)


def run(arm: str, seed: int) -> Measures:
    trained = policy(lora=8)
    if arm == "oracle":
        oracle(trained, seed)
    elif arm != "base":
        steps = round(STEPS * COSTLIER) if arm == "dpo-long" else STEPS
        train(
            algorithm(arm, trained),
            comparisons(seed),
            seed,
            steps=steps,
            batch_size=BATCH,
            lr=LR,
            other=arm == "placebo",
        )
    return held_out(trained, seed, proxy=Tasteful(PromptReader(), seed), n=TESTS, tries=4 if arm == "oracle" else 1)


def algorithm(arm: str, trained: Any) -> Any:
    if arm == "sft":
        return Supervised(trained)
    return DiffusionDPO(trained, beta=DPO_BETA) if arm.startswith("dpo") else InPO(trained, beta=BETA)
