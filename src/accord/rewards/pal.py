"""People differ: everybody's taste is a mixture of a few shared ones, and a new person is known by a few comparisons."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord import losses
from accord.engine import Learner, Loss, Mean, Rows, fit
from accord.engine.seeds import generator, seeded
from accord.errors import ConfigError, FeedbackError, one_of, wanted
from accord.feedback import Comparison, Prompt, by_person
from accord.rewards.features import Features, of_pairs
from accord.rewards.heads import mlp
from accord.rewards.saved import Saved
from accord.rewards.scores import Scores

STEEPEST = 100.0
"""Bound of the angle model's scale."""


class PAL(Saved):
    """Ideal points (Chen et al. 2024, arXiv 2406.08469): an answer is the better, the nearer it lies to where a person wants it.

    By distance (PAL-A), ``r_i(x) = -|f(x) - f(P w_i)|``, with the hinge ``max(0, 1 - lead)``; by angle (PAL-B), which depends on the
    prompt, ``r_i(x) = t cos(f(x), sum_k w_ik g_k(prompt))``, with Bradley-Terry. All share the map f and the K prototypes (points P, or
    functions g of the prompt); a person owns nothing but K weights ``w_i = softmax(o_i)``. One Adam holds everybody's, so that its momentum
    still moves the weights of who is not in a batch. Called itself, it is the reward of the column
    `person`'s people by name; where there is none, of everybody's mean weights.

    Args:
        features: frozen ones of answers; a prompt's are those of an empty answer to it. people: names of those who are learned from.
        prototypes: K; 1 is one taste for all. by: distance or angle. hidden: width of the map's hidden layer.
    """

    def __init__(self, features: Features, people: Sequence[str], *, prototypes: int = 2, by: str = "distance", hidden: int = 64,
                 seed: int = 0) -> None:  # fmt: skip
        super().__init__()
        wanted(
            prototypes >= 1 and len(set(people)) >= 1,
            "PAL wants at least one prototype and one person",
            (prototypes, len(people)),
        )
        one_of("by", by, "distance", "angle")
        self.features, self.by, self.hidden, self.seed, d = features, by, hidden, seed, features.width
        self.people = {name: i for i, name in enumerate(dict.fromkeys(people))}
        with seeded(seed, purpose="pal"):
            self.map = mlp(d, d, hidden)
            self.asked = nn.ModuleList(mlp(d, d, hidden) for _ in range(prototypes if by == "angle" else 0))
            self.tastes = Tastes(torch.randn(prototypes if by == "distance" else 0, d), len(self.people), prototypes)
        self.steepness = nn.Parameter(torch.tensor(math.log(1 / 0.07))) if by == "angle" else None

    @property
    def settings(self) -> dict[str, Any]:
        prototypes = self.tastes.logits.shape[1]
        return {"people": list(self.people), "prototypes": prototypes, "by": self.by, "hidden": self.hidden}

    @classmethod
    def fit(cls, records: Sequence[Comparison], features: Features, *, prototypes: int = 2, by: str = "distance", hidden: int = 64,
            **training: Any) -> "PAL":  # fmt: skip
        """Train one on comparisons that say who judged."""
        made = cls(
            features,
            list(by_person(records)),
            prototypes=prototypes,
            by=by,
            hidden=hidden,
            seed=training.get("seed", 0),
        )
        return made.fitted(records, **training)

    def fitted(self, pairs: Sequence[Comparison], **training: Any) -> "PAL":
        """Train on comparisons that say who judged, from prototypes among their answers; returns itself.

        Raises:
            FeedbackError: somebody is none of the people.
        """
        new = sorted(by_person(pairs).keys() - self.people.keys())
        if new:
            raise FeedbackError(
                f"{new[0]} is none of the {len(self.people)} people of this model: for_newcomer fits a new one"
            )
        if self.by == "distance":
            drawn = torch.randperm(len(pairs), generator=generator(self.seed, purpose="prototypes"))[
                : len(self.tastes.points)
            ]
            with torch.no_grad():
                self.tastes.points[: len(drawn)] = of_pairs(self.features, [pairs[i] for i in drawn.tolist()])[0]
        fit(
            TasteFitting(self),
            pairs,
            **{"lr": 1e-3, "lr_of": {"tastes": 5e-2}, "batch_size": 32, "epochs": 10, "progress": False, **training},
        )
        return self

    def values(
        self, rows: Float[Tensor, "n d"], asked: Float[Tensor, "n d"], weights: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n"]:
        """Rewards of answers by their features, their prompts' and the weights of who reads them."""
        if self.by == "distance":
            gap = (self._mapped(rows) - self._mapped(weights @ self.tastes.points)).float()
            return -(gap.square().sum(-1) + 1e-12).sqrt()
        ideal = torch.einsum("nk,nkd->nd", weights, torch.stack([g(asked) for g in self.asked], 1)).float()
        assert self.steepness is not None
        return self.steepness.exp().clamp(max=STEEPEST) * torch.cosine_similarity(self.map(rows).float(), ideal, -1)

    def leads(self, pairs: Sequence[Comparison], weights: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
        """Of chosen over rejected answers, to people of these weights."""
        asked = self.of_prompts([p.prompt for p in pairs])
        chosen, rejected = (x.to(weights) for x in of_pairs(self.features, pairs))
        return self.values(chosen, asked, weights) - self.values(rejected, asked, weights)

    def loss(self, leads: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        return (1 - leads).clamp(min=0) if self.by == "distance" else losses.pairwise(leads)

    def of_prompts(self, prompts: Sequence[Prompt]) -> Float[Tensor, "n d"]:
        """Features of prompts, where they are looked at."""
        like = self.tastes.logits
        if self.by == "distance":
            return like.new_zeros(len(prompts), self.features.width)
        return self.features(prompts, [""] * len(prompts)).to(like)

    def weights_of(self, person: str) -> Float[Tensor, "k"]:
        """Somebody's weights; raises ConfigError for who is not among the people."""
        if person not in self.people:
            raise ConfigError(
                f"{person!r} is none of the {len(self.people)} people of this model: for_newcomer fits a new one"
            )
        return self.tastes()[self.people[person]].detach()

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], person: Sequence[str | None] | None = None,
                 **columns: Any) -> Scores:  # fmt: skip
        mean = self.tastes().mean(0).detach()
        weights = [mean if who is None else self.weights_of(who) for who in person or [None] * len(prompts)]
        return self._scores(prompts, completions, torch.stack(weights) if weights else mean.expand(0, -1))

    @torch.no_grad()
    def _scores(self, prompts: Sequence[Prompt], completions: Sequence[Any], weights: Float[Tensor, "n k"]) -> Scores:
        asked = self.of_prompts(prompts)
        rows = self.features(prompts, completions).to(asked)
        return Scores.of(self.values(rows, asked, weights.to(asked)).cpu())

    def for_person(self, who: str | Float[Tensor, "k"]) -> "OfTaste":
        """The reward of one of the people by name, or of any weights (their mean: of everybody)."""
        return OfTaste(self, self.weights_of(who) if isinstance(who, str) else who)

    def for_newcomer(self, said: Sequence[Comparison], *, steps: int = 60, lr: float = 0.1) -> "OfTaste":
        """The reward of a new person who said this: their K weights alone are fitted, from equal ones, on all of it at once.
        Raises ConfigError where nothing was said."""
        wanted(len(said) >= 1, "a newcomer wants at least one verdict", len(said))
        newcomer = Newcomer(self)
        fit(newcomer, list(said), steps=steps, batch_size=len(said), lr=lr, progress=False)
        return OfTaste(self, newcomer.tastes()[0].detach())

    def _mapped(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rows + self.map(rows)


class Tastes(nn.Module):
    """Prototypes, and everybody's logits over them."""

    def __init__(self, points: Float[Tensor, "k d"], people: int, prototypes: int) -> None:
        super().__init__()
        self.points, self.logits = nn.Parameter(points), nn.Parameter(points.new_zeros(people, prototypes))

    def forward(self) -> Float[Tensor, "u k"]:
        return torch.softmax(self.logits, -1)


class OfTaste:
    """The reward of somebody with these weights."""

    def __init__(self, model: PAL, weights: Float[Tensor, "k"]) -> None:
        self.model, self.weights, self.name = model, weights, "of-taste"

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        return self.model._scores(prompts, completions, self.weights.expand(len(prompts), -1))


class TasteFitting(Learner):
    """Everybody at once."""

    rows = (Comparison,)

    def __init__(self, model: PAL) -> None:
        super().__init__()
        self.model = model
        self.rest = nn.ModuleDict({"map": model.map, "asked": model.asked})
        self.rest.register_parameter("steepness", model.steepness)

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"map": self.rest, "tastes": self.model.tastes}

    def forward(self, rows: Rows) -> Loss:
        who = [self.model.people[r.annotator] for r in rows]
        return told(self.model, rows, self.model.tastes()[who])


class Newcomer(Learner):
    """One new person, everything else as it is."""

    rows = (Comparison,)

    def __init__(self, model: PAL) -> None:
        super().__init__()
        # A copy that learns nothing, so that no gradient is left with the people's model; in a list, it is no part of this one.
        self._model = [copy.deepcopy(model, {id(model.features): model.features}).requires_grad_(False)]
        points = model.tastes.logits
        self.tastes = Tastes(points.new_zeros(0, 0), 1, points.shape[1])

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"tastes": self.tastes}

    def forward(self, rows: Rows) -> Loss:
        return told(self._model[0], rows, self.tastes().expand(len(rows), -1))


def told(model: PAL, rows: Sequence[Comparison], weights: Float[Tensor, "n k"]) -> Loss:
    """The loss of verdicts by people of these weights."""
    leads = model.leads(rows, weights)
    return Loss(model.loss(leads).sum(), float(len(rows)), {"accuracy": Mean.of((leads > 0).float())})
