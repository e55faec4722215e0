"""25 DPA: does one policy that is told a direction reach more of what two kinds of people want than one that is told ratings?

The two aspects pull apart: replies with details and politeness, and short ones. A direction is told by this world's own tags, a level for each
aspect, so the base heeds it a little from the start, in every arm: all of details, and one of three levels of brevity, as a direction is
less than 15 degrees from details alone, or more, this way or that. What counts is read off the text.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from statistics import fmean

import torch

from accord.algorithms import DPA, Supervised
from accord.algorithms.rounds.dpa import direction
from accord.engine import fit
from accord.feedback import Example, Prompt
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters import CALM, requests
from accord.reproduce.letters_arms import RATES
from accord.reproduce.letters_rounds import in_rounds
from accord.reproduce.letters_two_kinds import area, both
from accord.reproduce.luck import luck
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import BradleyTerry, Scores, score
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model

PAIRS, PROMPTS, ROUNDS, SAMPLES, DIRECTIONS, STEPS, TESTS = 800, 160, 2, 8, 2, 40, 200
LR = {"ratings": 4e-4, "details": 1e-4, "dpa": 1e-4}
ANGLES = (-30, 0, 30)
BETWEEN = direction(15)[1]
ASPECTS = ("detailed", "brief")
LENGTH, PER_WORD = 22.0, 8.0
"""Words of a usual reply, and how many more or fewer are worth one unit: about the spread of the other aspect's reward."""

CLAIM = Claim(
    name="dpa",
    world="letters",
    statement="Told a direction, DPA's policy covers a larger area of details against brevity than a policy that imitates answers told their ratings, and "
    "with all weight on details it gives not less of them than rejection sampling for details alone.",
    primaries=(Primary("dpa", "ratings", measure="area", delta=0.05), Primary("dpa", "details", says="not worse", measure="detailed@0", delta=0.05)),
    arms=("ratings", "details", "dpa"),
    equal=("ratings", "details", "dpa"),
    seeds=12,
    settings=(("pairs", str(PAIRS)), ("prompts", f"{PROMPTS} over {ROUNDS} rounds"), ("answers", str(SAMPLES)), ("directions", str(DIRECTIONS)),
              ("steps a round", str(STEPS)), ("lr", f"{LR}, cosine")),
)  # fmt: skip


def tagged(prompt: Prompt, helpful: int, concise: int) -> str:
    """A request for levels from 0 to 3 of both aspects."""
    return f"<helpful:{helpful}> <concise:{concise}> {prompt}"


def told(prompt: Prompt, aspects: Sequence[str], v: Sequence[float]) -> str:
    """A direction by tags."""
    return tagged(prompt, 3, 0 if v[1] < -BETWEEN else 3 if v[1] > BETWEEN else 2)


def rated(prompt: Prompt, z: Sequence[float]) -> str:
    """Ratings by tags: how many standard deviations from the mean."""
    helpful, concise = (min(3, max(0, round(1.5 + x))) for x in z)
    return tagged(prompt, helpful, concise)


class Both:
    """What people who like details are modelled to like, and how short an answer is."""

    def __init__(self, model: BradleyTerry) -> None:
        self.model = model

    def __call__(self, *, prompts: Sequence[str], completions: Sequence[str], **columns: object) -> Scores:
        detailed = score(
            self.model, prompts=[bare(p) for p in prompts], completions=completions, group=columns["group"]
        ).values
        brief = torch.tensor([(LENGTH - len(c.split())) / PER_WORD for c in completions])
        return Scores.of(detailed + brief, aspects={"detailed": detailed, "brief": brief})


def bare(prompt: str) -> str:
    """A prompt without the tags before it."""
    return prompt.rpartition("> ")[2] if prompt.startswith("<") else prompt


@lru_cache(maxsize=1)
def judged(seed: int) -> Both:
    def make() -> BradleyTerry:
        people = population(20, seed=seed, aspects=("helpful", "polite"), certainty=2.0)
        return reward_model(comparisons(policy(), people, PAIRS, seed=seed), seed=seed)

    return Both(
        kept(f"dpa details {PAIRS}", seed, make, BradleyTerry.save, lambda path: BradleyTerry.load(path).eval())
    )


def dpa(seed: int, lr: float) -> Measures:
    return _sampled(seed, 45.0, lr)


def details(seed: int, lr: float) -> Measures:
    """Rejection sampling for details alone: every direction is (nearly) the first axis."""
    return _sampled(seed, 0.5, lr)


def _sampled(seed: int, angle: float, lr: float) -> Measures:
    trained = policy()
    method = DPA(
        trained,
        judged(seed),
        ASPECTS,
        angle=angle,
        rounds=ROUNDS,
        samples=SAMPLES,
        directions=DIRECTIONS,
        sampling=SAMPLING,
        tell=told,
    )
    in_rounds(method, seed, prompts=PROMPTS, steps=STEPS, lr=lr)
    return front(trained, seed)


def ratings(seed: int, lr: float) -> Measures:
    """A few more answers, as they are shorter, each imitated under its own ratings; as many steps."""
    trained, asked = policy(), requests(seed)[:PROMPTS]
    drawn = trained.sample([t.prompt for t in asked], SAMPLES * (1 + DIRECTIONS) // 2 + 2, SAMPLING, seed=luck(seed))
    prompts = [str(p) for p in drawn.prompt_of_each()]
    said = score(judged(seed), prompts=prompts, completions=drawn.completions, group=drawn.group.tolist()).aspects
    table = torch.stack([said[a] for a in ASPECTS], -1)
    own = ((table - table.mean(0)) / table.std(0)).tolist()
    rows = [Example(prompt=rated(p, z), completion=c) for p, z, c in zip(prompts, own, drawn.completions, strict=True)]
    fit(Supervised(trained), rows, steps=ROUNDS * STEPS, batch_size=16, lr=lr, seed=luck(seed), progress=False, **CALM)
    return front(trained, seed)


def front(trained: LanguagePolicy, seed: int) -> Measures:
    """What is got in each direction, the area that all cover together, and by how much brevity follows the angle."""
    with metered():
        trained.eval()
        found = {a: got(trained, a, seed) for a in ANGLES}
        return {"gold": fmean(direction(a)[0] * x + direction(a)[1] * y for a, (x, y) in found.items()), "area": area(found.values()),
                "follows": found[ANGLES[-1]][1] - found[ANGLES[0]][1],
                **{f"detailed@{a}": x for a, (x, _) in found.items()}, **{f"brief@{a}": y for a, (_, y) in found.items()}}  # fmt: skip


def got(trained: LanguagePolicy, angle: float, seed: int) -> tuple[float, float]:
    """Details and brevity of answers to held-out requests that are told a direction."""
    asked = [str(t.prompt) for t in tasks(TESTS, seed=seed, split="test")]
    prompts = [told(a, ASPECTS, direction(angle)) for a in asked]
    return both(asked, trained.sample(prompts, 1, SAMPLING, seed=seed).completions)


MAKERS: dict[str, Maker] = {
    "ratings": lambda lr: partial(ratings, lr=lr),
    "details": lambda lr: partial(details, lr=lr),
    "dpa": lambda lr: partial(dpa, lr=lr),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, (*RATES, 4e-4)) | at_rates(MAKERS, (8e-4,), only=["ratings"])
