"""85 DMoERM: does a mixture of experts, each asked for one quality of one task, agree better with people than one reward model does?

Two tasks, in which people want different things, and verdicts of which many are wrong. Experts learn from a judge of each quality, who
is careless and likes the first place; the control `labels` learns from the same verdicts, but in one model. `single` computes as much as DMoERM,
and `short` no more than is good for it.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import torch

from accord.feedback import Comparison, Task
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.letters_rewards import ANSWERS, EmbeddedWords, concordance, pool, small_base
from accord.reproduce.luck import luck
from accord.rewards import (  # fmt: skip
    BradleyTerry,
    CapabilityMixture,
    DMoERM,
    Ensemble,
    HeadReward,
    Reward,
    Router,
    TrunkFeatures,
    agreed,
    score,
)
from accord.worlds.annotators import Annotator, Population
from accord.worlds.letters import faults, gold, parse_request, policy, spurious, tasks
from accord.worlds.letters.feedback import SAMPLING, reward_model
from accord.worlds.letters.population import SCALE
from accord.worlds.letters.tasks import Kind

TASKS: dict[str, tuple[Kind, ...]] = {"work": ("sum", "choice", "tool"), "talk": ("note", "unsafe")}
TASTES = {
    "work": {"correct": 0.6, "helpful": 0.2, "concise": 0.2},
    "talk": {"polite": 0.4, "sincere": 0.4, "helpful": 0.2},
}
"""What people want of each task."""
QUALITIES = ("correct", "helpful", "polite", "sincere")
PAIRS, NOISE, CARELESS, PLACE = 500, 0.3, 0.15, 1.0
FIRST, EPOCHS, EXPERT_EPOCHS, RANK, STEPS = 0.6, 4, 2, 8, 60
SINGLE_EPOCHS, LONGER = 12, 1.6
"""So long learn the single model, and the one of all labels, that they compute what DMoERM does."""
LR = {"single": 1e-4, "short": 1e-3, "ensemble": 1e-3, "labels": 1e-3, "dmoerm": 3e-3}
RATES, FURTHER = (1e-4, 3e-4, 1e-3, 3e-3), {"single": (3e-5,), "dmoerm": (1e-2,)}
"""What each arm's rate is chosen from, by accuracy; one more where an end of them was best. `outer` takes that of `single`, `inner` that of DMoERM."""

CLAIM = Claim(
    name="dmoerm",
    world="letters",
    statement="At equal verdicts of people and no more compute, DMoERM orders answers more as people really want them than one reward model, also one that stops early, than the mean "
    "of four, and not less than one model that has learned from the same judges of qualities.",
    primaries=(
        Primary("dmoerm", "single", measure="accuracy", delta=0.02),
        Primary("dmoerm", "short", measure="accuracy", delta=0.02),
        Primary("dmoerm", "ensemble", measure="accuracy", delta=0.02),
        Primary("dmoerm", "labels", "not worse", measure="accuracy", delta=0.02),
        Primary("dmoerm", "single", delta=0.02),
    ),
    arms=("single", "short", "ensemble", "labels", "outer", "inner", "dmoerm"),
    equal=("single", "ensemble", "labels", "dmoerm"),
    settings=(
        ("pairs of each task", f"{PAIRS}, {NOISE} of them tossed"),
        ("judges", f"{CARELESS} tossed, {PLACE} log-odds for the first place, kept where both orders agree"),
        (
            "epochs",
            f"{EPOCHS} of the first phase on {FIRST:.0%}, {EXPERT_EPOCHS} of experts, {SINGLE_EPOCHS} of the single one, {EPOCHS} of the short",
        ),
        ("lr, each of", f"{LR} {RATES}, also {FURTHER}"),
        ("experts", f"{QUALITIES}, rank {RANK}, combined in {STEPS} steps"),
    ),
)

Verdicts = dict[str, list[Comparison]]


def arm(make: Callable[[int], Reward]) -> Arm:
    def run(seed: int) -> Measures:
        reward = make(seed)
        with metered():
            return measured(reward, seed)

    return run


def measured(reward: Reward, seed: int) -> Measures:
    """By what people want of each task."""
    drawn = pool(seed)
    said = score(reward, prompts=drawn.prompts, completions=drawn.completions, batch_size=256).values.reshape(
        -1, ANSWERS
    )
    aspects = gold(prompts=drawn.prompts, completions=drawn.completions).aspects
    wants = [TASTES[task_of(p)] for p in drawn.prompts]
    true = torch.tensor(
        [sum(w * float(aspects[a][i]) for a, w in some.items()) for i, some in enumerate(wants)]
    ).reshape(-1, ANSWERS)
    found = {"accuracy": concordance(said, true), "gold": float(true.gather(1, said.argmax(1, keepdim=True)).mean())}
    for name in TASKS:
        rows = [i for i, p in enumerate(drawn.prompts[::ANSWERS]) if task_of(p) == name]
        found[f"accuracy/{name}"] = concordance(said[rows], true[rows])
    return found


def task_of(prompt: str) -> str:
    kind = parse_request(prompt).kind
    return next(name for name, kinds in TASKS.items() if kind in kinds)


def single(seed: int, lr: float) -> BradleyTerry:
    return first_phase(everything(people(seed)), seed, lr, SINGLE_EPOCHS)


def short(seed: int, lr: float) -> BradleyTerry:
    return first_phase(everything(people(seed)), seed, lr, EPOCHS)


def ensemble(seed: int, lr: float) -> Ensemble:
    told = everything(people(seed))
    return Ensemble(
        [first_phase(told, seed, lr, EPOCHS, luck(seed) + 31 * i) for i in range(len(QUALITIES))], how="mean"
    )


def labels(seed: int, lr: float) -> DMoERM:
    """As DMoERM, but that one model learns what its experts would."""
    return by_task(seed, lambda said, judged: combined(said, judged, seed, lr))


def combined(said: list[Comparison], judged: Verdicts, seed: int, lr: float) -> HeadReward:
    first, rest = halves(said)
    about = {"people": first * EPOCHS, **{q: pairs * EXPERT_EPOCHS for q, pairs in judged.items()}}
    told = [p.model_copy(update={"aspects": {name: 1.0}}) for name, pairs in about.items() for p in pairs]
    reward = BradleyTerry.fit(told, BradleyTerry.load(small_base(seed), aspects=tuple(about)), epochs=LONGER, batch_size=32, lr=lr, schedule="cosine",
                              warmup=0.05, seed=luck(seed), progress=False)  # fmt: skip
    features = TrunkFeatures(reward.requires_grad_(False))
    head = HeadReward(features, hidden=features.width, activation="prelu", seed=luck(seed))
    return head.fitted(rest, steps=STEPS, lr=lr, seed=luck(seed))


def outer(seed: int, lr: float) -> DMoERM:
    """A reward model for each task."""
    return by_task(seed, lambda said, judged: first_phase(said, seed, lr, SINGLE_EPOCHS))


def inner(seed: int, lr: float) -> CapabilityMixture:
    """One mixture for both tasks."""
    judged = judges(seed)
    by_quality = {q: everything({t: judged[t][q] for t in TASKS}) for q in QUALITIES}
    return mixture(everything(people(seed)), by_quality, seed, lr)


def dmoerm(seed: int, lr: float) -> DMoERM:
    return by_task(seed, lambda said, judged: mixture(said, judged, seed, lr))


def by_task(seed: int, make: Callable[[list[Comparison], Verdicts], Reward]) -> DMoERM:
    said, judged = people(seed), judges(seed)
    return DMoERM(router(seed), {name: make(said[name], judged[name]) for name in TASKS})


def mixture(said: list[Comparison], judged: Verdicts, seed: int, lr: float) -> CapabilityMixture:
    first, rest = halves(said)
    made = CapabilityMixture(first_phase(first, seed, lr, EPOCHS), QUALITIES, lora=RANK, seed=luck(seed))
    made.taught(judged, epochs=EXPERT_EPOCHS, lr=lr, seed=luck(seed))
    return made.fitted(rest, steps=STEPS, lr=lr, seed=luck(seed))


def halves(said: list[Comparison]) -> tuple[list[Comparison], list[Comparison]]:
    """What the first phase learns from, and what the combination does."""
    cut = round(FIRST * len(said))
    return said[:cut], said[cut:]


def first_phase(
    said: list[Comparison], seed: int, lr: float, epochs: float, randomness: int | None = None
) -> BradleyTerry:
    return reward_model(
        said, seed=luck(seed) if randomness is None else randomness, source=small_base(seed), epochs=epochs, lr=lr
    )


def router(seed: int) -> Router:
    asked = [Task(prompt=t.prompt, columns={"task": task_of(str(t.prompt))}) for t in tasks(400, seed=seed + 3)]
    return Router(EmbeddedWords(), list(TASKS), seed=luck(seed)).fitted(asked, seed=luck(seed))


def everything(said: Verdicts) -> list[Comparison]:
    """Of both tasks in turns."""
    return [p for both in zip(*said.values(), strict=False) for p in both]


@lru_cache(maxsize=1)
def people(seed: int) -> Verdicts:
    """What people say of the base's answers, by task."""
    return {name: _people(seed, name) for name in TASKS}


def _people(seed: int, task: str) -> list[Comparison]:
    def make() -> list[Comparison]:
        asked = tasks(PAIRS, seed=seed, kinds=TASKS[task])
        drawn = policy().sample([t.prompt for t in asked], 2, SAMPLING, seed=seed)
        return who(TASTES[task], seed, NOISE).compare(
            asked, drawn.completions[0::2], drawn.completions[1::2], seed=seed
        )

    return kept(f"letters people of {task} {PAIRS} {NOISE}", seed, make, save_comparisons, load_comparisons)


@lru_cache(maxsize=1)
def judges(seed: int) -> dict[str, Verdicts]:
    """What the judge of each quality says of the same answers in both orders, by task."""
    return {name: {q: _judged(pairs, q, seed) for q in QUALITIES} for name, pairs in people(seed).items()}


def _judged(pairs: list[Comparison], quality: str, seed: int) -> list[Comparison]:
    asked = [Task(prompt=p.prompt) for p in pairs]
    first, second = [p.chosen for p in pairs], [p.rejected for p in pairs]
    judge = who({quality: 1.0}, seed, CARELESS, PLACE)
    return agreed(judge.compare(asked, first, second, seed=seed), judge.compare(asked, second, first, seed=seed + 1))


def who(weights: dict[str, float], seed: int, noise: float, position: float = 0.0) -> Population:
    scaled = {a: SCALE * w for a, w in weights.items()}
    drawn = Annotator.draw(20, scaled, seed=seed, bias={}, noise=noise, position=position, groups=1, spread=0.3)
    return Population(drawn, gold, spurious, faults)


MAKERS: dict[str, Callable[..., Reward]] = {
    "single": single,
    "short": short,
    "ensemble": ensemble,
    "labels": labels,
    "outer": outer,
    "inner": inner,
    "dmoerm": dmoerm,
}
LIKE = {"outer": "single", "inner": "dmoerm"}
ARMS = {name: arm(partial(make, lr=LR[LIKE.get(name, name)])) for name, make in MAKERS.items()}
TUNING = {
    f"{name} rate {rate}": arm(partial(MAKERS[name], lr=rate))
    for name in LR
    for rate in (*RATES, *FURTHER.get(name, ()))
}
