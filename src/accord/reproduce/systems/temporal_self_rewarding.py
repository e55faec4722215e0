"""60 Temporal self-rewarding: do worst answers of the past and best answers of the future keep a pair's ends apart, and end higher?

A reward model that learned from people with a mild flaw judges for all. Plain self-rewarding gets more answers to each prompt than all three
times have together (which is as dear, as prompts are read for each time apart), as many prompts over twice as many rounds, and as many steps.
"""

from functools import partial
from statistics import fmean

from accord.algorithms import RoundMethod, SelfRewarding, TemporalSelfRewarding
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import answers, kl, proxy
from accord.reproduce.letters_arms import RATES
from accord.reproduce.letters_rounds import in_rounds
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import Reward
from accord.worlds.letters import policy
from accord.worlds.letters.feedback import SAMPLING

PROMPTS, ROUNDS, SAMPLES, PLAIN, BETA = 240, 2, 3, 11, 0.1
LR = {"plain": 2e-4, "past": 4e-4, "temporal": 4e-4}
SIZES = {"sampling": SAMPLING, "beta": BETA}

CLAIM = Claim(
    name="temporal-self-rewarding",
    world="letters",
    statement="At equal compute and steps, two temporal rounds end with a higher gold than four plain ones, and with pairs that the judge finds "
    "farther apart.",
    primaries=(Primary("temporal", "plain"), Primary("temporal", "plain", measure="apart", delta=0.3)),
    arms=("plain", "past", "temporal"),
    equal=("plain", "temporal"),
    settings=(("prompts", f"{PROMPTS} over all rounds"), ("rounds", f"{ROUNDS}; plain {2 * ROUNDS}, of two passes"),
              ("answers", f"{SAMPLES} of each time; plain {PLAIN}"), ("judge", "1000 verdicts, mild flaws"), ("lr", f"{LR}, cosine"), ("beta", str(BETA))),
)  # fmt: skip


def temporal(trained: LanguagePolicy, judge: Reward) -> RoundMethod:
    return TemporalSelfRewarding(trained, judge, rounds=ROUNDS, samples=SAMPLES, **SIZES)  # type: ignore[arg-type]


def past(trained: LanguagePolicy, judge: Reward) -> RoundMethod:
    """Without the future."""
    return TemporalSelfRewarding(trained, judge, rounds=ROUNDS, samples=SAMPLES, future=False, **SIZES)  # type: ignore[arg-type]


def plain(trained: LanguagePolicy, judge: Reward) -> RoundMethod:
    return SelfRewarding(trained, judge, rounds=2 * ROUNDS, samples=PLAIN, **SIZES)  # type: ignore[arg-type]


def rewarding(make: object, lr: float, epochs: float = 1) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy()
        pairs = in_rounds(make(trained, proxy(seed, flaw="mild")), seed, prompts=PROMPTS, epochs=epochs, lr=lr)  # type: ignore[operator]
        gaps = [fmean(p.strength for p in some) if some else 0.0 for some in pairs]
        with metered():
            return {
                **answers(trained.eval(), seed),
                "kl": kl(trained, seed),
                "apart": gaps[-1],
                "apart at first": gaps[0],
            }

    return arm


MAKERS: dict[str, Maker] = {
    "plain": partial(rewarding, plain, epochs=2),
    "past": partial(rewarding, past),
    "temporal": partial(rewarding, temporal),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, (*RATES[1:], 4e-4, 8e-4), only=("plain", "temporal"))
