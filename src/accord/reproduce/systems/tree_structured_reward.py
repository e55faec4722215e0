"""27 Tree-structured RM: for as many comparisons, does a reward learn more from answers that share their beginnings than from independent ones?

Every comparison costs the same, so all arms have equally many: a tree of 8 answers to a request, 8 independent answers to it, or 2 answers to four times as
many requests. People judge all of them alike. All rewards are heads on words; each arm takes as many steps as suit it best.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from random import Random
from statistics import fmean

import torch

from accord.feedback import Comparison, Task
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters_labels import LEARNING, WORDS, ranked, right, taught
from accord.rewards import grown, leaf_pairs, network_of, score
from accord.worlds.letters import gold, policy, population, tasks
from accord.worlds.letters.feedback import SAMPLING

REQUESTS, EACH, DEPTH, BRANCH, LENGTH = 100, 4, 3, 2, 18
NEAR = 60
SPARE = 40
"""Requests more, in the place of those whose two answers are the same."""
STEPS = {"tree": 320, "chain": 320, "pairs": 320}
GRID = (40, 80, 160, 320, 640)

CLAIM = Claim(
    name="tree-structured-reward",
    world="letters",
    statement="Of as many comparisons of as many requests, those within trees make a reward whose best of 16 answers has a higher gold than those of independent answers, "
    "and which orders answers that differ in their last part better.",
    primaries=(Primary("tree", "chain"), Primary("tree", "chain", measure="near", delta=0.03)),
    arms=("tree", "chain", "pairs"),
    settings=(("requests, comparisons each", f"{REQUESTS}, {EACH}"), ("tree", f"depth {DEPTH}, {BRANCH} branches, forks over {LENGTH} words"),
              ("steps", f"{STEPS}, each of {GRID}"), ("learning", str(LEARNING))),
)  # fmt: skip

Draw = Callable[[int], list[Comparison]]


def judged(prompts: list[str], first: list[str], second: list[str], seed: int) -> list[Comparison]:
    return population(20, seed=seed).compare([Task(prompt=p) for p in prompts], first, second, seed=seed)


def requests(seed: int, n: int) -> list[str]:
    return [str(t.prompt) for t in tasks(n, seed=seed)]


def of_leaves(depth: int, branch: int) -> Draw:
    """Some comparisons of the leaves of every request's tree; where leaves have fallen together fewer, and more of other requests."""

    def draw(seed: int) -> list[Comparison]:
        prompts = requests(seed, REQUESTS)
        trees = grown(policy(), prompts, depth=depth, branch=branch, length=LENGTH, sampling=SAMPLING, seed=seed)
        drawn = [leaf_pairs(leaves, 2 * EACH, seed=seed + i) for i, leaves in enumerate(trees)]
        pairs = [
            (p, a.text, b.text, a.shared(b))
            for some in (slice(EACH), slice(EACH, None))
            for p, found in zip(prompts, drawn, strict=True)
            for a, b in found[some]
        ][: REQUESTS * EACH]
        asked, first, second, shared = (list(x) for x in zip(*pairs, strict=True))
        told = judged(asked, first, second, seed)
        return [c.model_copy(update={"columns": {"shared": s}}) for c, s in zip(told, shared, strict=True)]

    return draw


def of_pairs(seed: int) -> list[Comparison]:
    """Two answers to each of more requests."""
    prompts = requests(seed, REQUESTS * EACH + SPARE)
    drawn = policy().sample(prompts, 2, SAMPLING, seed=seed).completions
    told = judged(prompts, drawn[0::2], drawn[1::2], seed)
    return [c.model_copy(update={"columns": {"shared": 0}}) for c in told if c.chosen != c.rejected][: REQUESTS * EACH]


DRAWS: dict[str, Draw] = {"tree": of_leaves(DEPTH, BRANCH), "chain": of_leaves(1, BRANCH**DEPTH), "pairs": of_pairs}


@lru_cache(maxsize=1)
def nearly_alike(seed: int) -> list[tuple[str, str, str]]:
    """Pairs of held-out answers of one beginning, the better first, none worth the same."""
    with metered():
        prompts = [str(t.prompt) for t in tasks(NEAR, seed=seed, split="test")]
        trees = grown(policy(), prompts, depth=2, branch=3, length=LENGTH, sampling=SAMPLING, seed=seed + 3)
    found = [
        (p, a.text, b.text)
        for p, leaves in zip(prompts, trees, strict=True)
        for a, b in combinations(leaves, 2)
        if a.shared(b)
    ]
    worth = gold(
        prompts=[p for p, *_ in found for _ in "ab"], completions=[c for _, a, b in found for c in (a, b)]
    ).values
    return [(p, a, b) if x > y else (p, b, a) for (p, a, b), x, y in zip(found, worth[0::2], worth[1::2], strict=True) if abs(float(x - y)) > 1e-6]  # fmt: skip


def arm(name: str, steps: int) -> Arm:
    def run(seed: int) -> Measures:
        with metered():
            told = DRAWS[name](seed)
        reward = taught(told, seed, steps=steps)
        with metered():
            near = nearly_alike(seed)
            said = score(
                reward, prompts=[p for p, *_ in near for _ in "ab"], completions=[c for _, a, b in near for c in (a, b)]
            ).values
            told_right = right(told)
        return {**ranked(reward, seed), "near": float(((said[0::2] - said[1::2]).sign() + 1).div(2).mean()), "comparisons": float(len(told)),
                "labels right": float(told_right[told_right != 0.5].mean()), "ties": float((told_right == 0.5).float().mean()),
                "words to read": fmean(to_read(p) for p in told), **known(told, seed)}  # fmt: skip

    return run


def to_read(pair: Comparison) -> int:
    """Words of both answers without what they share at the beginning."""
    a, b = str(pair.chosen).split(), str(pair.rejected).split()
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return len(a) + len(b) - 2 * shared


def known(told: list[Comparison], seed: int) -> Measures:
    """Mean variance of what the network of comparisons and likeness tells of any two answers among some of them, and the share of which it tells nothing."""
    some = Random(f"network:{seed}").sample(told, min(60, len(told)))
    sides = [(str(p.prompt), str(c)) for p in some for c in (p.chosen, p.rejected)]
    place = {side: i for i, side in enumerate(dict.fromkeys(sides))}
    rows = WORDS([p for p, _ in place], [c for _, c in place])
    network = network_of(
        rows / rows.norm(dim=1).mean(), [(place[a], place[b]) for a, b in zip(sides[0::2], sides[1::2], strict=True)]
    )
    found = torch.from_numpy(network.variances())
    upper = found[torch.triu_indices(network.n, network.n, 1).unbind()]
    tells = upper.isfinite()
    return {"variance": float(upper[tells].mean()), "unconnected": float((~tells).float().mean())}


ARMS = {name: arm(name, STEPS[name]) for name in DRAWS}
TUNING = {f"{name} {n} steps": arm(name, n) for name in DRAWS for n in GRID}
