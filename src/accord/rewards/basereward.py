"""BaseReward: a plain scoring reward with a head of two layers, and the search that finds such recipes, one dimension after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, cycle, islice
from math import log
from random import Random
from typing import Any, cast

import torch
from torch import nn

from accord.errors import ConfigError, FeedbackError, one_of, wanted
from accord.feedback import Comparison, Prompt, text_of_completion
from accord.rewards.features import Features
from accord.rewards.fitting import FitOptions
from accord.rewards.heads import ACTIVATIONS, HeadReward
from accord.rewards.reward import Reward, score
from accord.rewards.saved import Kept, Saved
from accord.rewards.scores import Scores


@dataclass(frozen=True)
class RewardRecipe:
    """What a scoring reward is made of; the defaults are what BaseReward's study ended with.

    Attributes:
        layers: of the head, 1 for a linear one, each as wide as the features. activation: between them.
        centre: weight of ``(r_c + r_r)^2``. length: kappa in ``r - kappa log words``.
        sources: names of the sources of comparisons that `mixed` takes, in equal parts. members: rewards whose mean counts.
    """

    layers: int = 2
    activation: str = "silu"
    centre: float = 0.0
    length: float = 0.0
    sources: tuple[str, ...] = ()
    members: int = 1

    def __post_init__(self) -> None:
        wanted(
            self.layers >= 1 and self.members >= 1,
            "a recipe wants layers and members of at least 1",
            (self.layers, self.members),
        )
        wanted(
            self.centre >= 0 and self.length >= 0,
            "a recipe wants centre and length of at least 0",
            (self.centre, self.length),
        )
        one_of("activation", self.activation, *ACTIVATIONS)


class BaseReward(Saved):
    """``mean over members of (r_i(x, y) - mean_i) / std_i - kappa log |y|``, each member a head on frozen features, ``-log s(r_c - r_r)`` its whole
    loss (BaseReward, Zhang et al. 2025, arXiv 2509.16127). Members are brought to one scale on what they learned from: else the one with
    the wider scale would decide alone.

    Args:
        features: of prompts (with pictures or without) and answers, such as `VisionLanguageFeatures`. recipe: see `RewardRecipe`.
    """

    def __init__(self, features: Features, recipe: RewardRecipe = RewardRecipe(), *, seed: int = 0) -> None:
        super().__init__()
        self.features, self.recipe, self.seed = features, recipe, seed
        hidden = [features.width] * (recipe.layers - 1)
        self.members = nn.ModuleList(
            HeadReward(features, hidden=hidden, activation=recipe.activation, seed=seed + i)
            for i in range(recipe.members)
        )
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.tensor([[0.0, 1.0]] * recipe.members))

    @property
    def settings(self) -> dict[str, Any]:
        return asdict(self.recipe)

    @classmethod
    def made(cls, kept: Kept) -> "BaseReward":
        return cls(kept.features, RewardRecipe(**{**kept.settings, "sources": tuple(kept.settings["sources"])}))

    @classmethod
    def fit(cls, records: Sequence[Comparison], features: Features, *, layers: int = 2, activation: str = "silu", centre: float = 0.0,
            length: float = 0.0, members: int = 1, **training: Any) -> "BaseReward":  # fmt: skip
        """Train one by a recipe; see `RewardRecipe`."""
        recipe = RewardRecipe(layers, activation, centre, length, members=members)
        return cls(features, recipe, seed=training.get("seed", 0)).fitted(records, **training)

    def fitted(self, pairs: Sequence[Comparison], **training: Any) -> "BaseReward":
        """Train all members on comparisons (such as `mixed` makes of several sources), each in an order of its own; returns itself."""
        prompts = [p.prompt for p in pairs for _ in "cr"]
        answers = [c for p in pairs for c in (p.chosen, p.rejected)]
        for i, member in enumerate(cast(list[HeadReward], list(self.members))):
            member.fitted(pairs, FitOptions(centre=self.recipe.centre), **{**training, "seed": self.seed + i})
            said = score(member, prompts=prompts, completions=answers).values
            self.scale[i] = torch.stack([said.mean(), said.std().clamp(min=1e-6)]).to(self.scale.device)
        return self

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        each = torch.stack([score(m, prompts=prompts, completions=completions).values for m in self.members], 1)
        scale = self.scale.to(each.device)
        each = (each - scale[:, 0]) / scale[:, 1]
        values = each.mean(1)
        if self.recipe.length:
            words = torch.tensor([log(max(1, len(text_of_completion(c).split()))) for c in completions])
            values = values - self.recipe.length * words
        return Scores.of(values, members=each)


def mixed(
    sources: Mapping[str, Sequence[Comparison]], names: Sequence[str], total: int, *, seed: int = 0
) -> list[Comparison]:
    """So many comparisons, as many of each source (one more of the first, where that doesn't come out even), in a random order. A source with fewer
    gives its own again.

    Raises:
        ConfigError: a name that there is no source of. FeedbackError: a source is empty.
    """
    odd = [n for n in names if n not in sources]
    if odd or not names:
        raise ConfigError(
            f"no source called {odd[0]!r}; there are {', '.join(sources)}" if odd else "a mixture wants a source"
        )
    if empty := [n for n in names if not sources[n]]:
        raise FeedbackError(f"the source {empty[0]!r} has no comparisons")
    share, more = divmod(total, len(names))
    shuffled = [Random(f"mix:{seed}:{n}").sample(list(sources[n]), len(sources[n])) for n in names]
    parts = [list(islice(cycle(rows), share + (i < more))) for i, rows in enumerate(shuffled)]
    found = list(chain(*parts))
    return Random(f"mix:{seed}").sample(found, len(found))


@dataclass(frozen=True)
class Trial:
    """A recipe that was tried, in which dimension, and how good it was found."""

    dimension: str
    recipe: RewardRecipe
    found: float


@dataclass(frozen=True)
class Search:
    """Attributes:
    best: the recipe that was carried to the end. trials: all that were tried, in order.
    """

    best: RewardRecipe
    trials: list[Trial] = field(default_factory=list)

    def table(self, dimension: str) -> list[tuple[Any, float]]:
        """The values of a dimension, and how good each was found."""
        return [(getattr(t.recipe, dimension), t.found) for t in self.trials if t.dimension == dimension]


def recipe_search(
    space: Mapping[str, Sequence[Any]],
    train: Callable[[RewardRecipe], Reward],
    validate: Callable[[Reward], float],
    start: RewardRecipe = RewardRecipe(),
) -> Search:
    """Dimension after dimension the value that validates best, carried on to the next: greedy, so that what two dimensions do together is seen only
    where the second is searched. No recipe is trained twice.

    Args:
        space: for each field of a recipe the values to try, in the order of the search. train: at equal cost. validate: more is better; of
            equals the first stays.

    Raises:
        ConfigError: a dimension that recipes don't have, or without values; before anything is trained.
    """
    for name, values in space.items():
        one_of("dimension", name, *vars(start))
        wanted(len(values) >= 1, f"the dimension {name} wants values to try", list(values))
        for value in values:
            replace(start, **{name: value})
    known: dict[RewardRecipe, float] = {}
    search = Search(start)
    for name, values in space.items():
        tried = [replace(search.best, **{name: value}) for value in values]
        for recipe in tried:
            if recipe not in known:
                known[recipe] = validate(train(recipe))
        search = Search(max(tried, key=known.__getitem__), [*search.trials, *(Trial(name, r, known[r]) for r in tried)])
    return search
