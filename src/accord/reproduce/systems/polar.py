"""92 POLAR: is a reward that first learned to tell policies apart, without any verdict, better after few verdicts than one that did not?

Policies are the world's manners of answering: twelve, each with levels of five qualities. None of them wrote what is judged in the end, the
base's answers beside a flawless one. What the first stage computes is spent on more epochs by the control `reference`, on the language of
the same texts by `language`. All but `bradley-terry` are shown a flawless answer to each request that they judge: over that one the lead is the
demonstration's too, and over `short` the first stage's alone.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any, NamedTuple

from accord.algorithms import Supervised
from accord.engine import fit
from accord.feedback import Comparison, Example, Ranking
from accord.policies import LanguagePolicy, Sampling
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_rewards import pool, ranked, small_base
from accord.reproduce.luck import luck
from accord.rewards import BradleyTerry, PolicyDiscriminator, beside_best, policy_triples
from accord.worlds.letters import compose, parse_request, policy, population, tasks
from accord.worlds.letters.compose import FLAWLESS
from accord.worlds.letters.feedback import SAMPLING, reward_model

POLICIES, QUALITIES = 12, ("correct", "helpful", "polite", "concise", "sincere")
TRIPLES, RANKINGS, NOISE, EPOCHS = 6000, 100, 0.1, 4
FIRST_LR, BATCH = 1e-3, 32
LONGER = 1.4
"""A step of the first stage, on three longer texts, computes as much as so many on rankings."""
LR = {"reference": 5e-6, "short": 5e-4, "language": 5e-4, "bradley-terry": 1.5e-3, "polar": 5e-3}
RATES, FURTHER = (5e-5, 2e-4, 5e-4, 1.5e-3, 5e-3), {"reference": (1.5e-6, 5e-6, 1.5e-5), "polar": (1.5e-2,)}
"""What the rate on rankings of each arm is chosen from; more where an end of them was best."""

CLAIM = Claim(
    name="polar",
    world="letters",
    statement=f"After {RANKINGS} rankings, a reward pre-trained to tell policies apart orders answers more as the gold does than the same model that "
    "computes as much on rankings alone, or no more than the second stage does, than one pre-trained on the language of the same texts, and than a Bradley-Terry model, which sees no demonstration; the best of 16 by it is no worse.",
    primaries=(
        Primary("polar", "reference", measure="accuracy", delta=0.02),
        Primary("polar", "short", measure="accuracy", delta=0.02),
        Primary("polar", "language", measure="accuracy", delta=0.02),
        Primary("polar", "bradley-terry", measure="accuracy", delta=0.02),
        Primary("polar", "reference", "not worse"),
    ),
    arms=("reference", "short", "language", "bradley-terry", "polar"),
    equal=("reference", "polar"),
    first_seed=500,
    settings=(
        ("triples", f"{TRIPLES} of {POLICIES} policies, lr {FIRST_LR}"),
        ("rankings", f"{RANKINGS} of three answers, {EPOCHS} epochs, noise {NOISE}"),
        ("reference alone", f"{LONGER} of its steps for each of the first stage"),
        ("lr on them, each of", f"{LR} {RATES}, also {FURTHER}"),
        ("reference when used", "a flawless answer"),
    ),
)


class Drawn(NamedTuple):
    completions: list[str]


class Manner:
    """A policy of this world's grammar: answers with its own levels of the qualities."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.levels = levels

    def sample(self, prompts: Sequence[Any], n: int, sampling: Any, *, seed: Any) -> Drawn:
        asked = [parse_request(str(p)) for p in prompts]
        return Drawn(
            [
                compose(r, Random(f"{seed}:{i}:{j}"), unless_asked=self.levels)
                for i, r in enumerate(asked)
                for j in range(n)
            ]
        )


def manners(seed: int) -> dict[str, Any]:
    drawn = [Random(f"manner:{seed}:{i}") for i in range(POLICIES)]
    return {f"manner {i}": Manner({q: r.randint(0, 3) for q in QUALITIES}) for i, r in enumerate(drawn)}


def polar(seed: int, lr: float) -> Measures:
    """With its accuracy after the first stage."""
    model = first_stage(seed)
    first = beside_flawless(model, seed)["accuracy"]
    return {**beside_flawless(second_stage(model, seed, EPOCHS, lr), seed), "first": first}


def reference(seed: int, lr: float) -> Measures:
    """The compute of both stages on rankings."""
    epochs = EPOCHS + LONGER * len(triples(seed)) / len(told(seed))
    return beside_flawless(second_stage(fresh(seed), seed, epochs, lr), seed)


def short(seed: int, lr: float) -> Measures:
    """The steps of the second stage alone."""
    return beside_flawless(second_stage(fresh(seed), seed, EPOCHS, lr), seed)


def language(seed: int, lr: float) -> Measures:
    """A first stage that learns how the policies write."""
    trained = LanguagePolicy.load(small_base(seed))
    texts = [
        Example(prompt=t.prompt, completion=c)
        for t in triples(seed)
        for c in (t.columns["reference"], t.chosen, t.rejected)
    ]
    steps = len(triples(seed)) // BATCH
    fit(
        Supervised(trained),
        texts,
        steps=steps,
        batch_size=3 * BATCH,
        lr=FIRST_LR,
        schedule="cosine",
        warmup=0.05,
        seed=luck(seed),
        progress=False,
    )
    return beside_flawless(second_stage(discriminator(trained.model, trained.tokeniser.inner), seed, EPOCHS, lr), seed)


def bradley_terry(seed: int, lr: float) -> Measures:
    """Without references, of all pairs of the same rankings."""
    pairs = [p for r in rankings(seed) for p in by_place(r)]
    return ranked(reward_model(pairs, seed=luck(seed), source=small_base(seed), epochs=EPOCHS, lr=lr), seed)


def by_place(ranking: Ranking) -> list[Comparison]:
    a, b, c = ranking.completions
    return [Comparison(prompt=ranking.prompt, chosen=x, rejected=y) for x, y in ((a, b), (a, c), (b, c))]


def fresh(seed: int) -> PolicyDiscriminator:
    return discriminator(small_base(seed))


def discriminator(source: Any, tokenizer: Any = None) -> PolicyDiscriminator:
    return PolicyDiscriminator(BradleyTerry.load(source, tokenizer=tokenizer), between=" ", answer_tokens=60)


def first_stage(seed: int) -> PolicyDiscriminator:
    return trained(fresh(seed), triples(seed), seed, epochs=1, lr=FIRST_LR)


def second_stage(model: PolicyDiscriminator, seed: int, epochs: float, lr: float) -> PolicyDiscriminator:
    return trained(model, told(seed), seed, epochs=epochs, lr=lr)


def trained(model: PolicyDiscriminator, rows: list[Comparison], seed: int, **options: Any) -> PolicyDiscriminator:
    return model.fitted(rows, batch_size=BATCH, schedule="cosine", warmup=0.05, seed=luck(seed), **options)


@lru_cache(maxsize=1)
def triples(seed: int) -> list[Comparison]:
    return policy_triples(manners(seed), [t.prompt for t in tasks(TRIPLES, seed=seed + 5)], Sampling(), seed=seed)


@lru_cache(maxsize=1)
def rankings(seed: int) -> list[Ranking]:
    """Three answers of the base each, in the order of people's ratings."""
    asked = tasks(RANKINGS, seed=seed + 7)
    with metered():
        said = policy().sample([t.prompt for t in asked], 3, SAMPLING, seed=seed + 7).completions
    rated = population(20, seed=seed, noise=NOISE).rate(
        [t for t in asked for _ in range(3)], said, seed=seed, steps=100
    )
    made = []
    for i, task in enumerate(asked):
        best_first = sorted(rated[3 * i : 3 * i + 3], key=lambda r: -r.aspects["overall"])
        made.append(Ranking(prompt=task.prompt, completions=[r.completion for r in best_first]))
    return made


def told(seed: int) -> list[Comparison]:
    return beside_best(rankings(seed))


def beside_flawless(model: PolicyDiscriminator, seed: int) -> Measures:
    """What it is worth with a demonstration for each request."""
    asked = dict.fromkeys(pool(seed).prompts)
    known = {
        p: compose(parse_request(p), Random(f"shown:{seed}:{i}"), unless_asked=FLAWLESS) for i, p in enumerate(asked)
    }

    def reward(*, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
        return model(prompts=prompts, completions=completions, reference=[known[str(p)] for p in prompts])

    return ranked(reward, seed)


MAKERS: dict[str, Callable[..., Measures]] = {
    "reference": reference,
    "short": short,
    "language": language,
    "bradley-terry": bradley_terry,
    "polar": polar,
}
ARMS: dict[str, Arm] = {name: partial(make, lr=LR[name]) for name, make in MAKERS.items()}
TUNING = {
    f"{name} rate {rate}": partial(make, lr=rate)
    for name, make in MAKERS.items()
    for rate in (*RATES, *FURTHER.get(name, ()))
}
