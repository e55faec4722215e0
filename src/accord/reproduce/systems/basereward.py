"""90 BaseReward: is the plain recipe (a head of two layers with SiLU, no regulariser, text beside pictures, two members) as good as any other?

Questions about portraits with two answers each. Features are frozen: words of question and answer, and how likely the world's reader finds what the
answer says of the picture; so every arm trains a head alone, on as many comparisons and steps. Verdicts on pictures hardly ever ask what
should be refused; those on text mostly do. Of the regularisers, centring is in the loss, at two weights; `length` isn't: it is taken off when a reward
is read out, so that this arm says nothing of training, and stands beside the claim.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.evaluation import accuracy
from accord.evaluation.trust import Referee
from accord.feedback import Comparison, picture_key, pictures_of, text_of
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.rewards import BaseReward, Reward, RewardRecipe, mixed, recipe_search, score
from accord.rewards.basereward import Search
from accord.worlds.portraits.people import ATTRIBUTES
from accord.worlds.portraits.proxies import read_attributes
from accord.worlds.portraits.questions import Choice, choices, judged

PAIRS, NOISE, TESTS, VALID = 800, 0.1, 600, 300
STEPS, BATCH = 200, 64
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
LR = {
    **dict.fromkeys(("plain", "centred a little", "two", "twice"), 1e-3),
    "linear": 3e-3,
    "centred": 3e-3,
    "pictures": 3e-4,
}
"""Of each arm, from RATES; an arm that no primary compares takes the plain one's."""
RECIPE = RewardRecipe(sources=("pictures", "text"))

RECIPES = {
    "plain": RECIPE,
    "linear": RewardRecipe(layers=1, sources=RECIPE.sources),
    "four layers": RewardRecipe(layers=4, sources=RECIPE.sources),
    "tanh": RewardRecipe(activation="tanh", sources=RECIPE.sources),
    "centred a little": RewardRecipe(centre=0.01, sources=RECIPE.sources),
    "centred": RewardRecipe(centre=0.1, sources=RECIPE.sources),
    "length": RewardRecipe(length=0.5, sources=RECIPE.sources),
    "pictures": RewardRecipe(sources=("pictures",)),
    "text": RewardRecipe(sources=("text",)),
    "flawed too": RewardRecipe(sources=("pictures", "text", "flawed")),
    "two": RewardRecipe(members=2, sources=RECIPE.sources),
}
SPACE: dict[str, Sequence[Any]] = {
    "layers": (1, 2, 4), "activation": ("silu", "tanh"), "centre": (0.0, 0.1), "length": (0.0, 0.5),
    "sources": (("pictures",), ("text",), ("pictures", "text"), ("pictures", "text", "flawed")),
}  # fmt: skip

CLAIM = Claim(
    name="basereward",
    world="portraits",
    statement="At equal comparisons and steps a head of two layers with SiLU orders answers better than a linear one; text beside pictures helps where something is "
    "to be refused and costs nothing where something is to be seen; centring rewards, a little or more, doesn't help; the mean of two is better than one that trains twice as long.",
    primaries=(
        Primary("plain", "linear", measure="accuracy", delta=0.02),
        Primary("plain", "pictures", measure="accuracy/safe", delta=0.02),
        Primary("plain", "pictures", "not worse", measure="accuracy/seen", delta=0.02),
        Primary("plain", "centred", "not worse", measure="accuracy", delta=0.02),
        Primary("plain", "centred a little", "not worse", measure="accuracy", delta=0.02),
        Primary("two", "twice", measure="accuracy", delta=0.02),
    ),
    arms=(*RECIPES, "twice", "searched"),
    settings=(
        ("comparisons", f"{PAIRS} of each source, as many in each mixture, {NOISE} of them tossed"),
        ("flawed source", "0.4 tossed, 0.3 log-odds for a word"),
        ("training", f"{STEPS} steps of {BATCH}"),
        ("lr, each of", f"{LR} {RATES}"),
        ("search", f"by {VALID} verdicts on pictures of both kinds, over {SPACE}"),
    ),
)


SAYS = re.compile(rf"the ({'|'.join(ATTRIBUTES)}) is (\w+) \.")


class Fused:
    """Words of question and answer, and the reader's log-probability of what the answer says of the picture: with the question,
    what a vision-language model knows of an answer."""

    def __init__(self, words: Sequence[str]) -> None:
        self.place = {w: i for i, w in enumerate(words)}
        self.width, self.fingerprint = 2 * len(words) + 2, f"fused {len(words)}"
        self._seen: dict[str, dict[str, Tensor]] = {}
        self._rows: dict[tuple[str, ...], Tensor] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str]) -> Float[Tensor, "n d"]:
        pictures = {picture_key(x): x for p in prompts for x in pictures_of(p)}
        if new := {k: x for k, x in pictures.items() if k not in self._seen}:
            with metered(), torch.no_grad():
                read = read_attributes(torch.stack(list(new.values())))
            self._seen |= {k: {a: v[i] for a, v in read.items()} for i, k in enumerate(new)}
        keys = [(text_of(p), c, *map(picture_key, pictures_of(p))) for p, c in zip(prompts, completions, strict=True)]
        for key in set(keys) - self._rows.keys():
            self._rows[key] = self._row(*key)
        return torch.stack([self._rows[k] for k in keys]) if keys else torch.zeros(0, self.width)

    def _row(self, question: str, answer: str, picture: str | None = None) -> Float[Tensor, "d"]:
        believed = 0.0
        if picture is not None and (said := SAYS.search(answer)):
            believed = float(self._seen[picture][said[1]][ATTRIBUTES[said[1]].index(said[2])])
        return torch.cat(
            [self._bag(question), self._bag(answer), torch.tensor([max(-8.0, believed) / 4, float(believed < -1)])]
        )

    def _bag(self, text: str) -> Float[Tensor, "w"]:
        places = [self.place[w] for w in text.split() if w in self.place]
        return torch.bincount(torch.tensor(places, dtype=torch.long), minlength=len(self.place)).float()


def arm(recipe: RewardRecipe, lr: float, steps: int = STEPS) -> Arm:
    def run(seed: int) -> Measures:
        return measured(trained(recipe, seed, lr, steps), seed)

    return run


def trained(recipe: RewardRecipe, seed: int, lr: float, steps: int = STEPS) -> BaseReward:
    pairs = mixed(sources(seed), recipe.sources, PAIRS, seed=luck(seed))
    return BaseReward(features(seed), recipe, seed=luck(seed)).fitted(pairs, steps=steps, batch_size=BATCH, lr=lr)


def searched(seed: int) -> Measures:
    """The recipe that a search by held-out verdicts ends with."""
    held = judged(asked(seed + 77, VALID), seed=seed + 77, noise=NOISE)
    best = search(
        lambda recipe: trained(recipe, seed, LR["plain"]), lambda reward: accuracy(Referee(reward)(held)).value
    ).best
    chosen = {
        "layers": float(best.layers),
        "text": float("text" in best.sources),
        "silu": float(best.activation == "silu"),
    }
    return {**measured(trained(best, seed, LR["plain"]), seed), **{f"chosen/{k}": v for k, v in chosen.items()}}


def search(train: Callable[[RewardRecipe], Reward], validate: Callable[[Reward], float]) -> Search:
    return recipe_search(SPACE, train, validate, start=RECIPE)


def measured(reward: Reward, seed: int) -> Measures:
    """On questions about pictures: the share that is ordered as it is worth, also by what was asked; the worth of what is preferred."""
    tests = [c for c in asked(seed + 55, TESTS) if abs(c.worth[0] - c.worth[1]) > 1e-6]
    said = score(
        reward, prompts=[c.prompt for c in tests for _ in "12"], completions=[a for c in tests for a in c.answers]
    ).values.reshape(-1, 2)
    worth = torch.tensor([c.worth for c in tests])
    right = ((said[:, 0] - said[:, 1]) * (worth[:, 0] - worth[:, 1]) > 0).float()
    parts = {part: float(right[[i for i, c in enumerate(tests) if c.part == part]].mean()) for part in ("seen", "safe")}
    return {
        "gold": float(worth.gather(1, said.argmax(1, keepdim=True)).mean()),
        "accuracy": float(right.mean()),
        **{f"accuracy/{k}": v for k, v in parts.items()},
    }


@lru_cache(maxsize=4)
def asked(seed: int, n: int) -> list[Choice]:
    """About pictures, as much to be seen as to be refused."""
    return choices(n, seed, {"seen": 0.5, "safe": 0.5})


@lru_cache(maxsize=1)
def sources(seed: int) -> Mapping[str, list[Comparison]]:
    pictures = choices(PAIRS, seed, {"seen": 0.96, "safe": 0.04})
    text = choices(PAIRS, seed + 11, {"safe": 0.7, "manner": 0.3}, pictures=False)
    flawed = choices(PAIRS, seed + 22, {"seen": 1.0})
    return {
        "pictures": judged(pictures, seed=seed, noise=NOISE),
        "text": judged(text, seed=seed + 11, noise=NOISE),
        "flawed": judged(flawed, seed=seed + 22, noise=0.4, length=0.3),
    }


@lru_cache(maxsize=1)
def features(seed: int) -> Fused:
    said = [p for pairs in sources(seed).values() for p in pairs]
    return Fused(sorted({w for p in said for text in (text_of(p.prompt), p.chosen, p.rejected) for w in text.split()}))


ARMS = {
    **{name: arm(recipe, LR.get(name, LR["plain"])) for name, recipe in RECIPES.items()},
    "twice": arm(RECIPE, LR["twice"], 2 * STEPS),
    "searched": searched,
}
TUNING = {
    f"{name} rate {rate}": arm(RECIPES.get(name, RECIPE), rate, 2 * STEPS if name == "twice" else STEPS)
    for name in LR
    for rate in RATES
}
