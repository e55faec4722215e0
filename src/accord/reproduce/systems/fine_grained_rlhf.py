"""81 Fine-grained RLHF: does paying each sentence where it ends beat paying the whole at its end?

Things to be explained, a clause each. People mark what is wrong with each sentence of the base policy's replies, and a model of sentences
learns from that, where what can't be read is marked all through; the control's reward model learns from as many of their verdicts on pairs.
The third arm is paid the same sentences' sum at the end: only where the pay falls differs.
"""

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
from accord.reproduce.rates import at_best, at_rates
from accord.rewards import BradleyTerry, Reward, Scores, SegmentClassifier, score
from accord.rewards import sentences as pieces
from accord.worlds.letters import WEIGHTS, policy, population, tasks
from accord.worlds.letters.feedback import LONG, reward_model
from accord.worlds.letters.tasks import Kind

MARKED, STEPS, BATCH, GROUP, KL, TESTS = 500, 40, 8, 4, 0.05, 200
LR = {"preference": 2e-4, "summed": 2e-4, "fine-grained": 2e-4}
FAULTS = ("wrong", "off topic", "repeated", "flattery", "filler", "unreadable")
KINDS: tuple[Kind, ...] = ("explain",)

CLAIM = Claim(
    name="fine-grained-rlhf",
    world="letters",
    statement="At equal episodes and as many marked replies as compared pairs, PPO that is paid sentence by sentence ends with a higher gold than PPO on "
    "a preference model, and than PPO that gets the same sentences' sum at the end.",
    primaries=(Primary("fine-grained", "preference"), Primary("fine-grained", "summed")),
    arms=("preference", "summed", "fine-grained"),
    equal=("summed", "fine-grained"),
    seeds=12,
    settings=(("marked replies, compared pairs", str(MARKED)), ("steps", str(STEPS)), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"),
              ("kl", str(KL)), ("pay", "not standardised, as the sum isn't")),
)  # fmt: skip


def answered(seed: int, n: int) -> tuple[list[Any], list[str]]:
    """Requests, each n times, and the base policy's replies to them."""
    asked = tasks(MARKED, seed=seed, kinds=KINDS)
    return [t for t in asked for _ in range(n)], policy().sample(
        [t.prompt for t in asked], n, LONG, seed=seed
    ).completions


@lru_cache(maxsize=1)
def sentences(seed: int) -> SegmentClassifier:
    """What people's marks teach of sentences."""

    def make() -> SegmentClassifier:
        asked, replies = answered(seed, 1)
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
        f"marked sentences {MARKED}",
        seed,
        make,
        SegmentClassifier.save,
        lambda path: SegmentClassifier.load(path).eval(),
    )


@lru_cache(maxsize=1)
def preferred(seed: int) -> BradleyTerry:
    """What their verdicts on pairs teach of whole replies."""

    def compared() -> list[Comparison]:
        asked, replies = answered(seed, 2)
        return population(20, seed=seed).compare(asked[0::2], replies[0::2], replies[1::2], seed=seed)

    def make() -> BradleyTerry:
        return reward_model(
            kept(f"explained pairs {MARKED}", seed, compared, save_comparisons, load_comparisons), seed=seed
        )

    return kept(f"explained proxy {MARKED}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval())


class Summed:
    """The same sentences' values, as one for the whole."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def __call__(self, **samples: Any) -> Scores:
        return Scores.of(score(self.reward, **samples).values)


def fine_grained(trained: LanguagePolicy, seed: int) -> Rollout:
    return FineGrainedRLHF(trained, sentences(seed), kl=KL, standardise=False, group_size=GROUP, sampling=LONG)


def summed(trained: LanguagePolicy, seed: int) -> Rollout:
    return PPO(trained, Summed(sentences(seed)), kl=KL, group_size=GROUP, sampling=LONG)


def preference(trained: LanguagePolicy, seed: int) -> Rollout:
    return PPO(trained, preferred(seed), kl=KL, group_size=GROUP, sampling=LONG)


def learning(make: Any, lr: float) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy()

        def look(step: int) -> Measures:
            with metered():
                return note(step, {"reward/gold": explained(trained, seed, 60)["gold"]})

        train(
            make(trained, seed),
            tasks(1000, seed=seed + 1, kinds=KINDS),
            seed,
            steps=STEPS,
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


MAKERS = {
    name: partial(learning, make)
    for name, make in (("preference", preference), ("summed", summed), ("fine-grained", fine_grained))
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, FASTER)
