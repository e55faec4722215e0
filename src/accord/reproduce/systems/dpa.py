"""25 DPA: does one policy that is told a direction reach more of what two kinds of people want than one that is told ratings?

The two aspects pull apart: replies with details and politeness, and short ones. A direction is told by this world's own tags, a level for each
aspect, so the base heeds it a little from the start, in every arm. What counts is read off the text.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from statistics import fmean

import torch
from scipy.stats import spearmanr

from accord.algorithms import DPA, Supervised
from accord.algorithms.rounds.dpa import direction
from accord.engine import fit
from accord.feedback import Example, Prompt
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters import CALM, quality, requests
from accord.reproduce.letters_arms import RATES, Maker, at_best, at_rates
from accord.reproduce.letters_rounds import in_rounds
from accord.reproduce.luck import luck
from accord.rewards import BradleyTerry, Scores, score
from accord.worlds.letters import policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model

PAIRS, PROMPTS, ROUNDS, SAMPLES, DIRECTIONS, STEPS, TESTS = 800, 160, 2, 8, 2, 40, 200
LR = {"ratings": 2e-4, "details": 2e-4, "dpa": 2e-4}
ANGLES = (-45, -22, 0, 22, 45)
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
    settings=(("pairs", str(PAIRS)), ("prompts", f"{PROMPTS} over {ROUNDS} rounds"), ("answers", str(SAMPLES)), ("directions", str(DIRECTIONS)),
              ("steps a round", str(STEPS)), ("lr", f"{LR}, cosine")),
)  # fmt: skip


def told(prompt: Prompt, aspects: Sequence[str], v: Sequence[float]) -> str:
    """A direction by tags: of each aspect a level from 0 to 3."""
    helpful, concise = (min(3, max(0, round(1.5 + 1.5 * w))) for w in v)
    return f"<helpful:{helpful}> <concise:{concise}> {prompt}"


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
    """A few more answers, as they are shorter, each imitated under the direction in which it lies itself; as many steps."""
    trained, asked = policy(), requests(seed)[:PROMPTS]
    drawn = trained.sample([t.prompt for t in asked], SAMPLES * (1 + DIRECTIONS) // 2 + 2, SAMPLING, seed=luck(seed))
    prompts = [str(p) for p in drawn.prompt_of_each()]
    said = score(judged(seed), prompts=prompts, completions=drawn.completions, group=drawn.group.tolist()).aspects
    table = torch.stack([said[a] for a in ASPECTS], -1)
    own = torch.nn.functional.normalize((table - table.mean(0)) / table.std(0), dim=-1).tolist()
    rows = [
        Example(prompt=told(p, ASPECTS, v), completion=c)
        for p, v, c in zip(prompts, own, drawn.completions, strict=True)
    ]
    fit(Supervised(trained), rows, steps=ROUNDS * STEPS, batch_size=16, lr=lr, seed=luck(seed), progress=False, **CALM)
    return front(trained, seed)


def front(trained: LanguagePolicy, seed: int) -> Measures:
    """What is got in each direction, the area that all cover together, and whether brevity follows the angle."""
    with metered():
        trained.eval()
        found = {a: both(trained, a, seed) for a in ANGLES}
        points = sorted(found.values(), reverse=True)
        best = [max(y for _, y in points[: i + 1]) for i in range(len(points))]
        area = sum(x * (now - before) for (x, _), now, before in zip(points, best, [0.0, *best], strict=False))
        return {"gold": fmean(direction(a)[0] * x + direction(a)[1] * y for a, (x, y) in found.items()), "area": area,
                "follows": float(spearmanr(ANGLES, [y for _, y in found.values()]).statistic),
                **{f"detailed@{a}": x for a, (x, _) in found.items()}, **{f"brief@{a}": y for a, (_, y) in found.items()}}  # fmt: skip


def both(trained: LanguagePolicy, angle: float, seed: int) -> tuple[float, float]:
    """Details and brevity, both in [0, 1], of answers to held-out requests that are told a direction."""
    asked = [str(t.prompt) for t in tasks(TESTS, seed=seed, split="test")]
    said = quality(
        asked, trained.sample([told(a, ASPECTS, direction(angle)) for a in asked], 1, SAMPLING, seed=seed).completions
    )
    return 0.6 * said["helpful"] + 0.4 * said["polite"], min(1.0, max(0.0, 1 - said["length"] / 40))


MAKERS: dict[str, Maker] = {
    "ratings": lambda lr: partial(ratings, lr=lr),
    "details": lambda lr: partial(details, lr=lr),
    "dpa": lambda lr: partial(dpa, lr=lr),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, (*RATES, 4e-4))
