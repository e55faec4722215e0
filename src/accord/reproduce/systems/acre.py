"""24 ACRE: does paying for reasoning that leads to the right option in any order keep a policy from the place where it mostly stands?

This world's policy can't tell which letter stands for which option, so it is first shown quizzes worked out, answered by the option's words:
three in ten by the one that stands first, whatever the steps come to, which leaves it answering by any of them now and then. In training the
right one stands first in six of ten, in tests anywhere.
The second arm has its options shuffled in the data: whether that alone does it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from accord.algorithms import ACRE, GRPO, Rollout, Supervised
from accord.engine import fit
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.keep import kept
from accord.reproduce.letters import CALM
from accord.reproduce.letters_arms import FASTER, learned
from accord.reproduce.rates import at_best, at_rates
from accord.rewards.consistency import content, listed, moved, reordered, split_sentence
from accord.worlds.letters import policy
from accord.worlds.letters.quizzes import led_to, quizzes, worked_examples

SHOWN, HABIT, FIRST, STEPS, LONGER, BATCH, GROUP, KL, FORM, TESTS = 640, 0.3, 0.6, 50, 1.35, 12, 6, 0.02, 0.5, 300
TAUGHT_LR, LR = 5e-4, {"grpo": 2e-4, "shuffled": 2e-4, "acre": 2e-4}
ALPHAS = (1.0, 0.5, 0.2)
SAMPLING = Sampling(max_new_tokens=40)

CLAIM = Claim(
    name="acre",
    world="letters",
    statement=f"At equal compute on quizzes whose right option stands first in {FIRST:g} of them, ACRE's answers to held-out ones stay the same more often when "
    "the options are shuffled than GRPO's, are more often what their steps lead to, and are not less often right; they are steadier than those of GRPO on shuffled options, too.",
    primaries=(Primary("acre", "grpo", measure="steady", delta=0.05), Primary("acre", "grpo", measure="carried", delta=0.05),
               Primary("acre", "grpo", says="not worse", delta=0.05), Primary("acre", "shuffled", measure="steady", delta=0.05)),
    arms=("grpo", "shuffled", "acre"),
    equal=("grpo", "shuffled", "acre"),
    seeds=12,
    settings=(("worked examples", f"{SHOWN}, once, {HABIT:g} of them answered by the first option"), ("steps", f"{STEPS}, of GRPO {LONGER} times as many"), ("prompts x answers", f"{BATCH} x {GROUP}"),
              ("lr", f"{LR}, cosine; of imitation first {TAUGHT_LR}"), ("kl", str(KL)), ("alphas, form", f"{ALPHAS}, {FORM}"), ("tests", f"{TESTS}, one answer each")),
)  # fmt: skip


def taught(trained: LanguagePolicy, seed: int) -> LanguagePolicy:
    """The policy, with the weights of one that has seen quizzes worked out."""

    def make() -> LanguagePolicy:
        made = policy()
        shown = worked_examples(quizzes(SHOWN, seed=seed + 31), habit=HABIT, seed=seed)
        fit(Supervised(made), shown, epochs=1, batch_size=16, lr=TAUGHT_LR, seed=seed, progress=False, **CALM)
        return made

    trained.load_state_dict(
        kept(f"letters quizzes {SHOWN} {HABIT}", seed, make, LanguagePolicy.save, _load).state_dict()
    )
    return trained


def _load(folder: Path) -> LanguagePolicy:
    return LanguagePolicy.load(folder)


def said(reply: str, prompt: str) -> str | None:
    """The option that a reply ends with."""
    parts = split_sentence(reply)
    return None if parts is None else content(parts[1], listed(prompt))


def right(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """What ACRE is worth without its second look."""
    return [(FORM if split_sentence(c) else 0.0) + (said(c, p) == a) for p, c, a in zip(prompts, completions, columns["answer"], strict=True)]  # fmt: skip


def measured(trained: LanguagePolicy, seed: int, n: int = TESTS) -> Measures:
    """Shares of held-out quizzes that are answered right, alike when the options are shuffled, and by what the steps come to."""
    asked = quizzes(n, seed=seed, split="test")
    prompts = [str(t.prompt) for t in asked]
    orders = [moved(listed(p), t.columns["answer"], Random(f"{seed}:{p}")) for p, t in zip(prompts, asked, strict=True)]
    other = [str(reordered(p, listed(p), order)) for p, order in zip(prompts, orders, strict=True)]
    replies, again = (trained.sample(some, 1, SAMPLING, seed=seed).completions for some in (prompts, other))
    first, second = ([*map(said, r, p)] for r, p in ((replies, prompts), (again, other)))
    true = [t.columns["answer"] for t in asked]
    return {"gold": fmean(a == r for a, r in zip(first, true, strict=True)),
            "steady": fmean(a is not None and a == b for a, b in zip(first, second, strict=True)),
            "carried": fmean(a is not None and a == led_to(r) for a, r in zip(first, replies, strict=True)),
            "first": fmean(a == listed(p)[0] for a, p in zip(first, prompts, strict=True))}  # fmt: skip


def watched(trained: LanguagePolicy, seed: int) -> Callable[[int], Measures]:
    def look(step: int) -> Measures:
        with metered():
            found = measured(trained, seed, 100)
            return note(step, {"reward/gold": found["gold"], "steady": found["steady"]})

    return look


def learning(
    make: Callable[[LanguagePolicy], Rollout], lr: float, *, first: float = FIRST, longer: float = LONGER
) -> Arm:
    return learned(lambda p, seed: make(taught(p, seed)), lambda seed: quizzes(1000, seed=seed + 1, first=first), measure=measured, watch=watched,
                   steps=round(longer * STEPS), batch_size=BATCH, lr=lr)  # fmt: skip


def grpo(trained: LanguagePolicy) -> Rollout:
    return GRPO(trained, right, kl=KL, group_size=GROUP, sampling=SAMPLING)


def acre(trained: LanguagePolicy) -> Rollout:
    return ACRE(trained, alphas=ALPHAS, form=FORM, layout="sentence", kl=KL, group_size=GROUP, sampling=SAMPLING)


MAKERS = {
    "grpo": partial(learning, grpo),
    "shuffled": partial(learning, grpo, first=0.25),
    "acre": partial(learning, acre, longer=1.0),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, FASTER)
