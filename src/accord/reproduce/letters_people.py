"""What the reproductions on people share: answers with frozen features, people whose tastes are opposed, what they say and what they want."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from accord.engine.run import load_tensors, read_json, save_tensors, write_json
from accord.feedback import Comparison, Task
from accord.reproduce.claim import Measures
from accord.reproduce.keep import kept
from accord.rewards import Reward, TrunkFeatures, score
from accord.worlds.annotators import Annotator, Population
from accord.worlds.letters import gold, policy, spurious, tasks
from accord.worlds.letters.feedback import SAMPLING

REQUESTS, TESTS, ANSWERS = 500, 150, 4
"""Training requests, held-out ones, and answers to each."""

SHARED = {"correct": 3.0, "safe": 2.0}
"""Log-odds that one unit of an aspect is worth to everybody."""
OPPOSED = ({"polite": 2.5, "flattery": 1.0}, {"helpful": 2.5, "length": 0.1})
"""Log-odds of what some like as much as others dislike, in two bundles: four camps."""


@dataclass(frozen=True)
class Pool:
    """Answers of the base policy, so many in a row to each request (training requests first), with the frozen features of each; as
    `accord.rewards.Features` it looks them up."""

    prompts: list[str]
    completions: list[str]
    rows: Float[Tensor, "n d"]

    @property
    def width(self) -> int:
        return self.rows.shape[1]

    @property
    def fingerprint(self) -> str:
        return "letters"

    @property
    def source(self) -> dict[str, Any]:
        return {"model": "letters"}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        return self.rows[[self._places[str(p), str(c)] for p, c in zip(prompts, completions, strict=True)]]

    @cached_property
    def _places(self) -> dict[tuple[str, str], int]:
        return {sample: i for i, sample in enumerate(zip(self.prompts, self.completions, strict=True))}

    @cached_property
    def said(self) -> Mapping[str, Tensor]:
        """Gold aspects and spurious features of all answers."""
        aspects = gold(prompts=self.prompts, completions=self.completions).aspects
        return {**aspects, **{name: torch.tensor(v) for name, v in spurious(self.completions).items()}}

    @cached_property
    def tests(self) -> list[tuple[int, int]]:
        """All pairs of different answers to held-out requests, by number."""
        first = REQUESTS * ANSWERS
        groups = (range(i, i + ANSWERS) for i in range(first, len(self.prompts), ANSWERS))
        return [(i, j) for g in groups for i, j in combinations(g, 2) if self.completions[i] != self.completions[j]]

    def wanted(self, person: Annotator) -> Float[Tensor, "n"]:
        """What every answer is really worth to somebody: how far a verdict without noise would be decided."""
        return person.utility(self.said, {f: self.said[f].tolist() for f in person.bias})

    def values(self, reward: Reward, **columns: Any) -> Float[Tensor, "n"]:
        """What a reward says of the answers to held-out requests; of the others nothing (0)."""
        first = REQUESTS * ANSWERS
        prompts, completions = self.prompts[first:], self.completions[first:]
        told: dict[str, Any] = {k: [v] * len(prompts) for k, v in columns.items()}
        said = score(reward, prompts=prompts, completions=completions, **told)
        return torch.cat([torch.zeros(first), said.values])


@lru_cache(maxsize=1)
def pool(seed: int) -> Pool:
    def make() -> Pool:
        base = policy()
        asked = [*tasks(REQUESTS, seed=seed), *tasks(TESTS, seed=seed, split="test")]
        drawn = base.sample([t.prompt for t in asked], ANSWERS, SAMPLING, seed=seed)
        prompts = [str(p) for p in drawn.prompt_of_each()]
        rows = TrunkFeatures(base)(prompts, drawn.completions)
        return Pool(prompts, drawn.completions, (rows - rows.mean(0)) / rows.std(0))

    return kept(f"letters pool {REQUESTS} {TESTS} {ANSWERS}", seed, make, save_pool, load_pool)


def people(n: int, seed: int, *, camps: int = 4, spread: float = 0.2, name: str = "person") -> list[Annotator]:
    """People who share some tastes and are opposed in others, camp by camp; with one camp all are alike but for the spread."""
    found = []
    for i in range(n):
        random = Random(f"people:{seed}:{name}:{i}")
        camp = i % camps
        signs = (1 if camp < (camps + 1) // 2 else -1, 1 if camp % 2 == 0 else -1)
        opposed = {k: sign * w for sign, bundle in zip(signs, OPPOSED, strict=True) for k, w in bundle.items()}
        own = {k: w * random.gauss(1, spread) for k, w in {**SHARED, **opposed}.items()}
        bias = {k: own.pop(k) for k in ("flattery", "length")}
        found.append(Annotator(f"{name}-{i}", own, bias, group=camp))
    return found


def verdicts(table: Pool, judges: Sequence[Annotator], each: int, seed: int) -> list[Comparison]:
    """What each of them says of so many random pairs of answers to training requests."""
    made = []
    for person in judges:
        random = Random(f"asked:{seed}:{person.name}")
        at = [ANSWERS * i for i in random.sample(range(REQUESTS), each)]
        pairs = [[a + j for j in random.sample(range(ANSWERS), 2)] for a in at]
        first, second = ([table.completions[pair[side]] for pair in pairs] for side in (0, 1))
        asked = [Task(prompt=table.prompts[a]) for a in at]
        made += Population([person], gold, spurious).compare(asked, first, second, seed=random.randrange(10**6))
    return made


def foreseen(
    table: Pool, judged: Sequence[Annotator], values_for: Callable[[Annotator], Float[Tensor, "n"]]
) -> Measures:
    """How often each person's noiseless preference between held-out answers is foreseen, by pairs on which the camps are apart or alike.

    Args:
        values_for: what is thought each answer is worth to somebody.
    """
    i, j = torch.tensor(table.tests).T
    signs = torch.stack([torch.sign(table.wanted(p)[i] - table.wanted(p)[j]) for p in judged])
    camps = torch.stack([signs[[p.group == g for p in judged]].mean(0) for g in sorted({p.group for p in judged})])
    alike = (camps.sign() == camps[0].sign()).all(0)
    right = torch.stack([_right((v := values_for(p))[i] - v[j], s) for p, s in zip(judged, signs, strict=True)])
    parts = {"apart": ~alike, "alike": alike, "gold": torch.ones_like(alike)}
    return {name: _share(right, signs, part) for name, part in parts.items() if bool(part.any())}


def _right(leads: Float[Tensor, "m"], signs: Float[Tensor, "m"]) -> Float[Tensor, "m"]:
    return torch.where(leads == 0, 0.5, (leads * signs > 0).float())


def _share(right: Float[Tensor, "p m"], signs: Float[Tensor, "p m"], part: Bool[Tensor, "m"]) -> float:
    """Over people, of the pairs on which they have a preference."""
    return fmean(
        float(r[known].mean()) for r, s in zip(right, signs, strict=True) if bool((known := part & (s != 0)).any())
    )


def save_pool(table: Pool, folder: Path) -> None:
    write_json(folder / "texts.json", {"prompts": table.prompts, "completions": table.completions})
    save_tensors(folder / "rows.safetensors", {"rows": table.rows})


def load_pool(folder: Path) -> Pool:
    texts = read_json(folder / "texts.json", mend="delete the folder")
    return Pool(texts["prompts"], texts["completions"], load_tensors(folder / "rows.safetensors")["rows"])
