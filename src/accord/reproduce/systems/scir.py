"""03 SCIR: does a policy that makes its two opinions of answers agree label its own pairs better than one that judges alone?

Both begin from a little DPO on few, noisy verdicts, whose beginning the implicit reward compares with. The control's labels are those of the
policy as a judge, asked in both orders, as a round begins.
"""

from functools import partial
from typing import Any

import torch

from accord.algorithms import SCIR, RoundMethod, SelfRewarding
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import answers, kl
from accord.reproduce.letters_arms import RATES
from accord.reproduce.letters_rounds import JUDGING, SEED_NOISE, SEED_PAIRS, in_rounds, own_judge, warmed
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import Tournament
from accord.rewards.implicit import ImplicitReward
from accord.worlds.letters import judge_tasks, policy, prefers
from accord.worlds.letters.feedback import SAMPLING

PROMPTS, ROUNDS, SAMPLES, BETA, JUDGED = 160, 2, 4, 0.1, 200
LR = {"self-rewarding": 2e-4, "agreement": 2e-4, "scir": 2e-4}

CLAIM = Claim(
    name="scir",
    world="letters",
    statement="After two rounds on its own answers, SCIR's gold is above that of self-rewarding by the policy's judgement alone, and so is the share "
    "of pairs that its two opinions rank rightly, which isn't below what it was before the rounds.",
    primaries=(Primary("scir", "self-rewarding"), Primary("scir", "self-rewarding", measure="judging", delta=0.05),
               Primary("scir", "warmed", says="not worse", measure="judging", delta=0.05)),
    arms=("warmed", "self-rewarding", "agreement", "scir"),
    equal=("self-rewarding", "scir"),
    first_seed=600,
    seeds=24,
    settings=(("verdicts to begin with", f"{SEED_PAIRS}, noise {SEED_NOISE}"), ("prompts", f"{PROMPTS} over {ROUNDS} rounds"),
              ("answers", str(SAMPLES)), ("passes", "1; self-rewarding 4"), ("lr", f"{LR}, cosine"), ("beta", str(BETA)), ("weight, eta", "1, 0.1")),
)  # fmt: skip


def scir(trained: LanguagePolicy, weight: float) -> RoundMethod:
    return SCIR(
        trained, policy(), rounds=ROUNDS, samples=SAMPLES, sampling=SAMPLING, beta=BETA, weight=weight, **JUDGING
    )


def plain(trained: LanguagePolicy) -> RoundMethod:
    def judge(frozen: Any) -> Any:
        return Tournament(own_judge(frozen))

    return SelfRewarding(trained, judge=judge, rounds=ROUNDS, samples=SAMPLES, sampling=SAMPLING, beta=BETA)


def rewarding(make: object, lr: float, epochs: float = 1) -> Arm:
    def arm(seed: int) -> Measures:
        trained = warmed(seed)
        in_rounds(make(trained), seed, prompts=PROMPTS, epochs=epochs, lr=lr)  # type: ignore[operator]
        with metered():
            return {**answers(trained.eval(), seed), "kl": kl(trained, seed), **judging(trained, seed)}

    return arm


@torch.no_grad()
def judging(trained: LanguagePolicy, seed: int) -> Measures:
    """Share of held-out pairs that the policy ranks rightly: as a judge in both orders, by its implicit reward a word, and the mean of both."""
    asked = judge_tasks(JUDGED, seed=seed, split="test")
    requests, first, second = (
        [str(x) for x in column]
        for column in zip(*((t.columns["request"], *t.columns["replies"]) for t in asked), strict=True)
    )
    better = torch.tensor([t.columns["answer"] == "first" for t in asked])
    sure = (prefers(trained, requests, first, second) + 1 - prefers(trained, requests, second, first)) / 2
    replies = [x for pair in zip(first, second, strict=True) for x in pair]
    said = ImplicitReward(trained, policy())(prompts=[r for r in requests for _ in "12"], completions=replies, group=[i for i in range(len(asked)) for _ in "12"]).values  # fmt: skip
    said = said / torch.tensor([len(r.split()) for r in replies])
    found = {"judge": (sure > 0.5) == better, "implicit": (said[0::2] > said[1::2]) == better}
    shares = {name: float(x.float().mean()) for name, x in found.items()}
    return {**shares, "judging": sum(shares.values()) / 2}


def start(seed: int) -> Measures:
    """Where the rounds begin."""
    begun = warmed(seed).eval()
    return {**answers(begun, seed), "kl": kl(begun, seed), **judging(begun, seed)}


MAKERS: dict[str, Maker] = {
    "self-rewarding": partial(rewarding, plain, epochs=4),
    "agreement": partial(rewarding, partial(scir, weight=0.0)),
    "scir": partial(rewarding, partial(scir, weight=1.0)),
}
ARMS = {"warmed": start, **at_best(MAKERS, LR)}
TUNING = at_rates(MAKERS, (*RATES, 4e-4), only=("self-rewarding", "scir"))
