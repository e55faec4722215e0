"""12 Context-aware preference: do reversals teach a reward to heed its context, where pairs of one context each teach it what is mostly good?

Heads on frozen features of the base policy's answers to requests with and without a context, which is one of this world's tags. Reversals are made
of answers that trade one aspect for another; the control has as many comparisons of such answers, each in the one context that goes with the
better of the two. All arms also learn from comparisons without a context.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, permutations
from random import Random
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.feedback import Comparison
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept
from accord.reproduce.letters_people import ANSWERS, REQUESTS, Pool, load_pool, pool, save_pool
from accord.reproduce.luck import luck
from accord.rewards import ContextAware, HeadReward, TrunkFeatures
from accord.rewards.context_aware_preference import reversals, under
from accord.worlds.letters import ASPECTS, policy

LINES = {"polite": "polite", "helpful": "helpful", "sincere": "honest", "concise": "brief"}
"""What a context may ask for, and the word by which a line says the same as the tag."""
SOME, REVERSALS, GENERAL = 320, 500, 1500
LR, EPOCHS, BATCH, HIDDEN = 1e-3, 6, 64, 256

CLAIM = Claim(
    name="context-aware-preference",
    world="letters",
    statement="A reward that learned from reversals is right on more held-out ones than one that learned as many pairs of a context each, also where "
    "contexts are told in other words, and no worse without a context than one that never saw any.",
    primaries=(
        Primary("reversals", "one-context", measure="reversed", delta=0.03),
        Primary("reversals", "one-context", measure="paraphrased", delta=0.03),
        Primary("reversals", "blind", "not worse", measure="general", delta=0.03),
    ),
    arms=("blind", "one-context", "reversals", "reversals-alone"),
    first_seed=430,
    settings=(("comparisons", f"{2 * REVERSALS} in context, {GENERAL} without"), ("lr, epochs, batch", f"{LR} {EPOCHS} {BATCH}"),
              ("contexts", f"{', '.join(LINES)}: tags to learn from, system lines as other words, level 0 as negative ones")),
)  # fmt: skip

Trade = tuple[int, int, str, str]
"""Two answers to one request, and an aspect in which each is the better."""


def tag(aspect: str) -> str:
    return f"<{aspect}>"


def line(aspect: str) -> str:
    return f"system : be {LINES[aspect]} ."


def negative(aspect: str) -> str:
    return f"<{aspect}:0>"


@lru_cache(maxsize=1)
def told(seed: int) -> Pool:
    """Features of answers to requests in each context: tags for those to learn from, all for held-out ones."""

    def make() -> Pool:
        table = pool(seed)
        learned, held = range(SOME * ANSWERS), range(REQUESTS * ANSWERS, len(table.prompts))
        contexts = [None, *map(tag, LINES)]
        samples = [(under(table.prompts[i], c), table.completions[i])
                   for some, asked in ((learned, contexts), (held, [*contexts, *map(line, LINES), *map(negative, LINES)])) for c in asked for i in some]  # fmt: skip
        prompts, completions = [str(p) for p, _ in samples], [c for _, c in samples]
        rows = TrunkFeatures(policy())(prompts, completions)
        return Pool(prompts, completions, (rows - rows.mean(0)) / rows.std(0))

    return kept(f"letters in contexts {SOME}", seed, make, save_pool, load_pool)


def trades(table: Pool, requests: range) -> list[Trade]:
    """All there are among the answers to these requests."""
    found = []
    for r in requests:
        for i, j in permutations(range(r * ANSWERS, (r + 1) * ANSWERS), 2):
            found += [(i, j, a, b) for a, b in combinations(LINES, 2)
                      if table.said[a][i] > table.said[a][j] and table.said[b][i] < table.said[b][j]]  # fmt: skip
    return found


def worth(table: Pool) -> Float[Tensor, "n"]:
    return sum((w * table.said[a] for a, w in ASPECTS.items()), torch.zeros(len(table.prompts)))


def general(table: Pool, seed: int) -> list[Comparison]:
    """Which answer is the better one, by all of its gold."""
    random, gold, made = Random(f"general:{seed}"), worth(table), list[Comparison]()
    while len(made) < GENERAL:
        at = ANSWERS * random.randrange(SOME)
        i, j = sorted((at + k for k in random.sample(range(ANSWERS), 2)), key=lambda k: -float(gold[k]))
        if gold[i] > gold[j]:
            made.append(Comparison(prompt=table.prompts[i], chosen=table.completions[i], rejected=table.completions[j]))
    return made


def reversed_pairs(table: Pool, some: Sequence[Trade]) -> list[Comparison]:
    return [
        p
        for i, j, a, b in some
        for p in reversals(table.prompts[i], table.completions[i], table.completions[j], (tag(a), tag(b)))
    ]


def one_each(table: Pool, some: Sequence[Trade]) -> list[Comparison]:
    """Of each trade the comparison in which the answer wins that is better on the whole."""
    gold = worth(table)
    pairs = reversed_pairs(table, some)
    return [pairs[2 * k + (0 if gold[i] >= gold[j] else 1)] for k, (i, j, _, _) in enumerate(some)]


def learned(kind: str) -> Arm:
    def arm(seed: int) -> Measures:
        table, random = pool(seed), Random(f"trades:{seed}")
        some = random.sample(trades(table, range(SOME)), 2 * REVERSALS)
        plain = [] if kind == "reversals-alone" else general(table, seed)
        rows = one_each(table, some) if kind == "one-context" else reversed_pairs(table, some[:REVERSALS])
        training: dict[str, Any] = {
            "lr": LR,
            "batch_size": BATCH,
            "seed": luck(seed),
            "steps": EPOCHS * (2 * REVERSALS + GENERAL) // BATCH,
        }
        if kind == "blind":
            bare = [p.model_copy(update={"context": None}) for p in rows]
            return measured(
                HeadReward(told(seed), hidden=HIDDEN, seed=luck(seed)).fitted([*bare, *plain], **training), seed
            )
        return measured(ContextAware.fit([*rows, *plain], told(seed), hidden=HIDDEN, **training), seed)

    return arm


def measured(reward: HeadReward, seed: int) -> Measures:
    """Shares of held-out comparisons that are ordered rightly: of reversals by tags, by other words, by negative tags; of all without a context."""
    table, gold = pool(seed), worth(pool(seed))
    held = trades(table, range(REQUESTS, len(table.prompts) // ANSWERS))

    def heeded(word: Callable[[str], str], sign: int = 1) -> float:
        said = {a: table.values(reward, context=word(a)) for a in LINES}
        leads = [
            sign * side * float(said[a][i] - said[a][j])
            for i, j, *both in held
            for a, side in zip(both, (1, -1), strict=True)
        ]
        return fmean((lead > 0) + 0.5 * (lead == 0) for lead in leads)

    i, j = torch.tensor(table.tests).T
    plain, gap = table.values(reward), gold[i] - gold[j]
    right = ((plain[i] - plain[j]) * gap > 0)[gap != 0].float().mean()
    return {
        "gold": float(right),
        "general": float(right),
        "reversed": heeded(tag),
        "paraphrased": heeded(line),
        "negative": heeded(negative, -1),
    }


ARMS = {kind: learned(kind) for kind in CLAIM.arms}
