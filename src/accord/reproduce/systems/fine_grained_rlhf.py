"""81 Fine-grained RLHF: does paying each sentence where it ends beat paying the whole at its end?

Things to be explained, a clause each. People mark what is wrong with each sentence of the base policy's replies, and a model of sentences
learns from that, where what can't be read is marked all through; as in the paper a reward of whole replies stands beside it, as sentences
alone are at their best where the hard ones are left out. The control's reward of whole replies learns from pairs in the place of the marked
replies. The third arm is paid the same sum at the end: only where the pay falls differs.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from accord.algorithms import PPO, FineGrainedRLHF, Rollout
from accord.feedback import Comparison, Marked
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.letters import quality, train
from accord.reproduce.letters_arms import FASTER
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import BradleyTerry, Reward, Scores, SegmentClassifier, combine, score
from accord.rewards import sentences as pieces
from accord.rewards.combine import Combined
from accord.worlds.letters import WEIGHTS, policy, population, tasks
from accord.worlds.letters.feedback import LONG, reward_model
from accord.worlds.letters.tasks import Kind

JUDGED, STEPS, LONGER, BATCH, GROUP, KL, TESTS = 500, 40, 1.1, 8, 4, 0.05, 200
"""The control's reward learns from JUDGED pairs, the others' from half as many pairs and as many marked replies. The control takes LONGER
times as many steps, by what a second reward computes."""
LR = {"preference": 2e-4, "summed": 2e-4, "fine-grained": 2e-4}
WORTH, WORTHS = {"summed": 0.03, "fine-grained": 0.03}, (0.03, 0.1, 0.3)
"""Of a sentence, beside the reward of the whole."""
FAULTS = ("wrong", "off topic", "repeated", "flattery", "filler", "unreadable")
KINDS: tuple[Kind, ...] = ("explain",)

CLAIM = Claim(
    name="fine-grained-rlhf",
    world="letters",
    statement="At equal compute and with marked replies in the place of half the compared pairs, PPO that is paid sentence by sentence, and for the whole, ends with a "
    "higher gold than PPO on a preference model, and than PPO that gets the same sum at the end.",
    primaries=(Primary("fine-grained", "preference"), Primary("fine-grained", "summed")),
    arms=("preference", "summed", "fine-grained"),
    equal=("preference", "summed", "fine-grained"),
    seeds=12,
    settings=(("compared pairs", f"{JUDGED}, or half of them and as many marked replies"), ("worth of a sentence", f"{WORTH}, of {WORTHS}"), ("steps", f"{STEPS}; on the preference model {LONGER} times as many"), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"),
              ("kl", str(KL)), ("pay", "not standardised, as the sum isn't")),
)  # fmt: skip


def answered(count: int, seed: int, n: int) -> tuple[list[Any], list[str]]:
    """So many requests, each n times, and the base policy's replies to them."""
    asked = tasks(count, seed=seed, kinds=KINDS)
    return [t for t in asked for _ in range(n)], policy().sample(
        [t.prompt for t in asked], n, LONG, seed=seed
    ).completions


@lru_cache(maxsize=1)
def sentences(seed: int) -> SegmentClassifier:
    """What people's marks teach of sentences."""

    def make() -> SegmentClassifier:
        asked, replies = answered(JUDGED // 2, seed, 1)
        marks = population(20, seed=seed).mark(asked, replies, seed=seed)
        rows = [
            Marked(
                prompt=t.prompt,
                completion=c,
                spans=[m for m in some if m[2]] if some else [(*cut, "unreadable") for cut in pieces(c)],
            )
            for t, c, some in zip(asked, replies, marks, strict=True)
            if c
        ]
        model = SegmentClassifier.load(WEIGHTS, FAULTS, seed=seed)
        return SegmentClassifier.fit(
            rows, model, epochs=3, batch_size=16, lr=1e-3, schedule="cosine", warmup=0.05, seed=seed, progress=False
        )

    return kept(
        f"marked sentences {JUDGED // 2}",
        seed,
        make,
        SegmentClassifier.save,
        lambda path: SegmentClassifier.load(path).eval(),
    )


@lru_cache(maxsize=2)
def preferred(pairs: int, seed: int) -> BradleyTerry:
    """What so many of their verdicts on pairs teach of whole replies."""

    def compared() -> list[Comparison]:
        asked, replies = answered(pairs, seed, 2)
        return population(20, seed=seed).compare(asked[0::2], replies[0::2], replies[1::2], seed=seed)

    def make() -> BradleyTerry:
        return reward_model(
            kept(f"explained pairs {pairs}", seed, compared, save_comparisons, load_comparisons), seed=seed
        )

    return kept(f"explained proxy {pairs}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval())


def both(seed: int, worth: float) -> Combined:
    """A whole reply's value where it ends, and its sentences' where each of them does."""
    return combine(
        {"whole": preferred(JUDGED // 2, seed), "sentences": sentences(seed)},
        weights={"whole": 1.0, "sentences": worth},
    )


class Summed:
    """The same values, as one for the whole."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def __call__(self, **samples: Any) -> Scores:
        return Scores.of(score(self.reward, **samples).values)


def fine_grained(trained: LanguagePolicy, seed: int, worth: float) -> Rollout:
    return FineGrainedRLHF(trained, both(seed, worth), kl=KL, standardise=False, group_size=GROUP, sampling=LONG)


def summed(trained: LanguagePolicy, seed: int, worth: float) -> Rollout:
    return PPO(trained, Summed(both(seed, worth)), kl=KL, group_size=GROUP, sampling=LONG)


def preference(trained: LanguagePolicy, seed: int) -> Rollout:
    return PPO(trained, preferred(JUDGED, seed), kl=KL, group_size=GROUP, sampling=LONG)


def learning(make: Any, lr: float, longer: float = 1.0) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy()

        def look(step: int) -> Measures:
            with metered():
                return note(step, {"reward/gold": explained(trained, seed, 60)["gold"]})

        train(
            make(trained, seed),
            tasks(1000, seed=seed + 1, kinds=KINDS),
            seed,
            steps=round(longer * STEPS),
            batch_size=BATCH,
            lr=lr,
            lr_of={"critic": 1e-3},
            evaluate=look,
        )
        with metered():
            return explained(trained.eval(), seed, TESTS)

    return arm


def explained(trained: LanguagePolicy, seed: int, n: int) -> Measures:
    """Quality of replies to held-out requests."""
    asked = [str(t.prompt) for t in tasks(n, seed=seed, split="test", kinds=KINDS)]
    return quality(asked, trained.sample(asked, 1, LONG, seed=seed).completions)


def paid(make: Callable[..., Rollout], worth: float) -> Maker:
    return partial(learning, partial(make, worth=worth))


PAID = {"summed": summed, "fine-grained": fine_grained}
MAKERS: dict[str, Maker] = {
    "preference": partial(learning, preference, longer=LONGER),
    **{name: paid(make, WORTH[name]) for name, make in PAID.items()},
}
ARMS = at_best(MAKERS, LR)
TRIED = {f"{name} {worth}": paid(make, worth) for name, make in PAID.items() for worth in WORTHS}
TUNING = at_rates({"preference": MAKERS["preference"], **TRIED}, FASTER) | at_rates(
    TRIED, (5e-5,), only=["fine-grained 0.03", "fine-grained 0.1"]
)
