"""09 CREAM: does trusting one's own labels only as far as two versions of the model agree keep self-rewarding from drifting?

What the base policy has come to prefer by imitating a few replies, good in form and half of them wrong, is a real but noisy sign of quality. Plain self-rewarding is CREAM that
trusts every label; gold says how many of the labels were right.
"""

from functools import partial
from statistics import fmean

from accord.algorithms import CREAM
from accord.algorithms.rounds.cream import Trust
from accord.feedback import Comparison
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import answers, kl
from accord.reproduce.letters_arms import RATES
from accord.reproduce.letters_rounds import SHOWN, in_rounds, taught
from accord.reproduce.rates import at_rates
from accord.worlds.letters import gold, policy
from accord.worlds.letters.feedback import SAMPLING

PROMPTS, ROUNDS, SAMPLES, EPOCHS, LR, BETA = 360, 3, 5, 2, 1e-4, 0.1

CLAIM = Claim(
    name="cream",
    world="letters",
    statement="After three rounds on its own answers, at equal samples and steps, CREAM's gold is above plain self-rewarding's, and the last two "
    "versions of its policy agree more on the order of answers.",
    primaries=(Primary("cream", "self-rewarding"), Primary("cream", "self-rewarding", measure="agreement", delta=0.05)),
    arms=("taught", "self-rewarding", "cream", "each"),
    equal=("self-rewarding", "cream"),
    settings=(("imitated replies", f"{SHOWN}, half of them wrong"), ("prompts", f"{PROMPTS} over {ROUNDS} rounds, {EPOCHS} passes"), ("answers", str(SAMPLES)),
              ("lr", f"{LR}, cosine"), ("beta", str(BETA))),
)  # fmt: skip


def trusting(trust: Trust, lr: float = LR) -> Arm:
    """The policy after its rounds."""

    def arm(seed: int) -> Measures:
        trained = taught(seed)
        method = CREAM(trained, policy(), rounds=ROUNDS, samples=SAMPLES, sampling=SAMPLING, beta=BETA, trust=trust)
        pairs = in_rounds(method, seed, prompts=PROMPTS, epochs=EPOCHS, lr=lr)
        with metered():
            return {**answers(trained.eval(), seed), "kl": kl(trained, seed), "agreement": fmean(float(p.columns["agreement"]) for p in pairs[-1]),
                    "labels right": fmean(right(p) for some in pairs for p in some)}  # fmt: skip

    return arm


def right(pair: Comparison) -> float:
    """Whether the chosen answer is the better one in truth."""
    better, worse = gold(
        prompts=[str(pair.prompt)] * 2, completions=[str(pair.chosen), str(pair.rejected)]
    ).values.tolist()
    return 0.5 if better == worse else float(better > worse)


def start(seed: int) -> Measures:
    """Where the rounds begin."""
    return {**answers(taught(seed).eval(), seed), "kl": kl(taught(seed), seed), "agreement": 0.5, "labels right": 0.5}


ARMS = {"taught": start, "self-rewarding": trusting("full"), "cream": trusting("average"), "each": trusting("each")}
TUNING = at_rates(
    {"self-rewarding": partial(trusting, "full"), "cream": partial(trusting, "average")}, (2.5e-5, *RATES)
)
