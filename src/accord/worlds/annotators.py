"""Simulated people: Bradley-Terry judges who hold a world's gold privately and hand out only verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import ConfigError
from accord.feedback import Comparison, Label, Rating, Task
from accord.rewards import Scores

Gold = Callable[..., Scores]
Features = Callable[[Sequence[Any]], dict[str, list[float]]]
Mark = tuple[int, int, str]
"""A stretch of a text (start, end in characters) and what is wrong with it; "" for nothing."""


@dataclass(frozen=True)
class Annotator:
    """One person.

    Attributes:
        weights: log-odds for one unit of each gold aspect. bias: the same for each spurious feature.
        noise: share of verdicts given at random. position: log-odds for the answer shown first.
        group: to whom this person belongs; the column `camp` of their verdicts.
        contexts: further weights under a named principle ("concise": look at nothing else but …).
        drift: log-odds by which each weight changes over a whole job, by aspect.
    """

    name: str
    weights: Mapping[str, float]
    bias: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    position: float = 0.0
    group: int = 0
    contexts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def draw(cls, n: int, weights: Mapping[str, float], *, seed: int, bias: Mapping[str, float], noise: float,
             position: float, groups: int, spread: float) -> "list[Annotator]":  # fmt: skip
        """n people around the given weights: group g stresses every groups-th aspect, each person varies by `spread`.

        Everyone knows one context for each aspect, in which that aspect alone counts.
        """
        if n < 1 or groups < 1 or not 0 <= noise < 1:
            raise ConfigError(f"a population wants n >= 1, groups >= 1, 0 <= noise < 1, but got {n}, {groups}, {noise}")
        random = Random(f"annotators:{seed}")
        people = []
        for i in range(n):
            g = i % groups
            stress = {a: 1.0 if groups == 1 else (1.6 if j % groups == g else 0.6) for j, a in enumerate(weights)}
            own = {a: w * stress[a] * max(0.0, random.gauss(1, spread)) for a, w in weights.items()}
            contexts = {a: {b: (sum(weights.values()) if b == a else 0.0) for b in weights} for a in weights}
            people.append(cls(f"person-{i}", own, {k: v * max(0.0, random.gauss(1, spread)) for k, v in bias.items()},
                              noise, position, g, contexts))  # fmt: skip
        return people

    def utility(self, aspects: Mapping[str, Tensor], features: Mapping[str, list[float]], *, context: str | None = None,
                progress: float = 0.0) -> Float[Tensor, "n"]:  # fmt: skip
        """Log-odds scale worth of samples to this person; `progress` in [0, 1] is how far through the job they are."""
        if context is not None and context not in self.contexts:
            raise ConfigError(f"annotators know no context {context!r}, only {sorted(self.contexts)}")
        weights = self.weights if context is None else self.contexts[context]
        total = sum((w + progress * self.drift.get(a, 0.0)) * aspects[a] for a, w in weights.items())
        return torch.as_tensor(total) + sum(b * torch.tensor(features[f]) for f, b in self.bias.items())


class Population:
    """People who judge for us. Their gold is private: ask for verdicts.

    `biased_towards` a flaw means the feedback carries it: a reward trained on it will want the flaw.
    """

    def __init__(self, people: Sequence[Annotator], gold: Gold, features: Features,
                 faults: Callable[[Any, Any], list[Mark]] | None = None) -> None:  # fmt: skip
        self.people = list(people)
        self.__gold, self.__features, self.__faults = gold, features, faults

    def compare(self, tasks: Sequence[Task], first: Sequence[Any], second: Sequence[Any], *, seed: int = 0,
                context: str | None = None) -> list[Comparison]:  # fmt: skip
        """One verdict for each pair, by a random person, in the order shown: P(first) = s(u_1 - u_2 + position bias).

        With probability `noise` a verdict is a coin flip. A comparison's strength is not revealed.
        """
        out = []
        u1, u2 = (self._utilities(tasks, texts, seed, context) for texts in (first, second))
        for i, task in enumerate(tasks):
            random = Random(f"verdict:{seed}:{i}")
            person = self._person(seed, i)
            p = float(torch.sigmoid(u1[i] - u2[i] + person.position))
            wins = random.random() < (0.5 if random.random() < person.noise else p)
            chosen, rejected = (first[i], second[i]) if wins else (second[i], first[i])
            out.append(Comparison(prompt=task.prompt, chosen=chosen, rejected=rejected, annotator=person.name,
                                  context=context, columns={**task.columns, "camp": person.group}))  # fmt: skip
        return out

    def rate(self, tasks: Sequence[Task], completions: Sequence[Any], *, seed: int = 0, steps: int = 5) -> list[Rating]:
        """Ratings 0 … steps-1 for each aspect (rounded, with noise) and "overall", by a random person each."""
        said = self.__gold(prompts=[t.prompt for t in tasks], completions=list(completions))
        out = []
        for i, task in enumerate(tasks):
            random, person = Random(f"rating:{seed}:{i}"), self._person(seed, i)
            spread = 0.15 + person.noise
            given = {a: _rounded(float(v[i]) + random.gauss(0, spread), steps) for a, v in said.aspects.items()}
            total = sum(person.weights.values())
            given["overall"] = sum(w * given[a] for a, w in person.weights.items()) / total
            out.append(
                Rating(
                    prompt=task.prompt,
                    completion=completions[i],
                    aspects=given,
                    annotator=person.name,
                    columns=task.columns,
                )
            )
        return out

    def label(
        self, tasks: Sequence[Task], completions: Sequence[Any], *, seed: int = 0, threshold: float = 0.6
    ) -> list[Label]:
        """Thumbs up or down: whether a reply is worth more to the person than `threshold` of the best there could be."""
        u = self._utilities(tasks, completions, seed, None)
        out = []
        for i, task in enumerate(tasks):
            random, person = Random(f"label:{seed}:{i}"), self._person(seed, i)
            p = float(torch.sigmoid(u[i] - threshold * sum(person.weights.values())))
            good = random.random() < (0.5 if random.random() < person.noise else p)
            out.append(
                Label(
                    prompt=task.prompt,
                    completion=completions[i],
                    label=good,
                    annotator=person.name,
                    columns=task.columns,
                )
            )
        return out

    def mark(self, tasks: Sequence[Task], completions: Sequence[Any], *, seed: int = 0) -> list[list[Mark]]:
        """What a random person marks in each completion, sentence by sentence; where they don't look (with probability
        `noise`), a sentence gets the mark of any of that completion's."""
        if self.__faults is None:
            raise ConfigError("people of this world mark no faults: ask them to compare, rate or label")
        out = []
        for i, task in enumerate(tasks):
            random, marks = Random(f"mark:{seed}:{i}"), self.__faults(task.prompt, completions[i])
            careless = [random.random() < self._person(seed, i).noise for _ in marks]
            out.append(
                [(a, b, random.choice(marks)[2] if c else f) for (a, b, f), c in zip(marks, careless, strict=True)]
            )
        return out

    def _person(self, seed: int, i: int) -> Annotator:
        return Random(f"person:{seed}:{i}").choice(self.people)

    def _utilities(
        self, tasks: Sequence[Task], completions: Sequence[Any], seed: int, context: str | None
    ) -> list[Tensor]:
        said = self.__gold(prompts=[t.prompt for t in tasks], completions=list(completions))
        features = self.__features(list(completions))
        out = []
        for i in range(len(tasks)):
            row = {a: v[i] for a, v in said.aspects.items()}
            own = {f: v[i] for f, v in features.items()}
            out.append(self._person(seed, i).utility(row, own, context=context, progress=i / len(tasks)))  # type: ignore[arg-type]
        return out


def _rounded(x: float, steps: int) -> float:
    return float(round(min(1.0, max(0.0, x)) * (steps - 1)))
