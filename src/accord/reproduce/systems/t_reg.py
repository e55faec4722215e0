"""75 T-REG: does the model's own opinion of each word, asked for better and for worse, make DPO's credit land where it belongs?

The base policy can't follow requests for a revision; it knows the two control tags instead, in front of the request. What each sentence is
worth is known, so the control with shuffled rewards has all but their information.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import torch

from accord.algorithms import DPO, TREG
from accord.algorithms.preference.trainer import Preference
from accord.engine import derive
from accord.policies import LanguagePolicy
from accord.reproduce.claim import Arm, Claim, Primary
from accord.reproduce.letters import verdicts
from accord.reproduce.letters_arms import RATES, learned
from accord.reproduce.rates import at_rates
from accord.rewards import Cached, ContrastivePrompt, Scores, score

PAIRS, STEPS, BATCH, BETA, ALPHA = 400, 100, 16, 0.1, 0.5
LR, DPO_LR = 1e-4, 2e-4
"""Each the best of four by gold on tuning seeds."""

CLAIM = Claim(
    name="t-reg",
    world="letters",
    statement="After the same steps on the same pairs, DPO regularised by the model's own token rewards has a higher gold than DPO, and than the "
    "same with each answer's token rewards shuffled.",
    primaries=(Primary("t-reg", "dpo"), Primary("t-reg", "shuffled")),
    arms=("dpo", "t-reg", "shuffled"),
    equal=("t-reg", "shuffled"),
    settings=(("pairs", str(PAIRS)), ("steps", str(STEPS)), ("batch", str(BATCH)), ("lr", f"{LR}, DPO {DPO_LR}; cosine"), ("beta, alpha", f"{BETA}, {ALPHA}"),
              ("asked", "<better>, <worse>")),
)  # fmt: skip


def opinion(trained: LanguagePolicy) -> Cached:
    return Cached(ContrastivePrompt(trained.freeze("now"), "<better> {prompt}", "<worse> {prompt}"), None)


class Shuffled:
    """Token rewards in an order of chance: as many of each size, saying nothing of where."""

    def __init__(self, reward: Any, seed: int) -> None:
        self.reward, self.seed = reward, seed

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> Scores:
        said = score(self.reward, prompts=prompts, completions=completions, **columns)
        assert said.steps is not None
        steps = torch.zeros_like(said.steps)
        for i, text in enumerate(completions):
            n = len(text.split()) + 1  # one token a word, and the end
            order = list(range(n))
            Random(derive(self.seed, purpose=text)).shuffle(order)
            steps[i, :n] = said.steps[i, order]
        return Scores.of(said.values, steps=steps)


def learning(make: Callable[[LanguagePolicy, int], Preference], lr: float = LR) -> Arm:
    return learned(make, lambda seed: verdicts(seed, PAIRS), steps=STEPS, batch_size=BATCH, lr=lr)


def dpo(policy: LanguagePolicy, seed: int) -> Preference:
    return DPO(policy, beta=BETA)


def t_reg(policy: LanguagePolicy, seed: int) -> Preference:
    return TREG(policy, opinion(policy), beta=BETA, alpha=ALPHA)


def shuffled(policy: LanguagePolicy, seed: int) -> Preference:
    return TREG(policy, Shuffled(opinion(policy), seed), beta=BETA, alpha=ALPHA)


ARMS = {"dpo": learning(dpo, DPO_LR), "t-reg": learning(t_reg), "shuffled": learning(shuffled)}
TUNING = at_rates({"dpo": partial(learning, dpo), "t-reg": partial(learning, t_reg)}, (*RATES, 4e-4))
