"""What reproductions of reward models on letters share: answers with their gold, features of words, how well a reward ranks."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from accord.engine.run import write_text
from accord.engine.store import fingerprint
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Measures
from accord.reproduce.keep import kept
from accord.rewards import Reward, score
from accord.worlds.letters import gold, policy, tasks
from accord.worlds.letters.corpus import PLAIN
from accord.worlds.letters.feedback import SAMPLING
from accord.worlds.letters.train import pretrain

PROMPTS, ANSWERS = 150, 16
"""Held-out requests, and answers of the base to each."""


@dataclass(frozen=True)
class Pool:
    """The base's answers to held-out requests, request by request, and what they are worth."""

    prompts: list[str]
    completions: list[str]
    worth: list[float]

    @property
    def gold(self) -> Float[Tensor, "p a"]:
        return torch.tensor(self.worth).reshape(-1, ANSWERS)


@lru_cache(maxsize=1)
def pool(seed: int) -> Pool:
    """All arms of a seed rank the same answers."""

    def make() -> Pool:
        drawn = policy().sample(
            [t.prompt for t in tasks(PROMPTS, seed=seed, split="test")], ANSWERS, SAMPLING, seed=seed
        )
        prompts = [str(p) for p in drawn.prompt_of_each()]
        return Pool(prompts, drawn.completions, gold(prompts=prompts, completions=drawn.completions).values.tolist())

    def save(made: Pool, folder: Path) -> None:
        write_text(folder / "pool.json", json.dumps(asdict(made)))

    return kept(f"letters pool {PROMPTS} {ANSWERS}", seed, make, save, lambda f: Pool(**json.loads((f / "pool.json").read_text())))  # fmt: skip


class EmbeddedWords:
    """Of prompt and answer: the base's embeddings of their words, summed, to unit length; and the product. As `SentenceFeatures` are of real texts,
    but for the order of words."""

    def __init__(self) -> None:
        base = policy()
        self.tokeniser = base.tokeniser.inner
        words: Any = base.core.get_input_embeddings()
        weight = words.weight.detach()
        self.words = weight - weight.mean(0)
        self.width, self.fingerprint = 3 * weight.shape[1], f"words {fingerprint(base.model)}"
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        p, c = self.of(prompts), self.of(completions)
        return torch.cat([p, c, p * c * p.shape[1] ** 0.5], 1)

    def of(self, texts: Sequence[str]) -> Float[Tensor, "n w"]:
        for text in set(texts) - self._known.keys():
            ids = self.tokeniser(text, add_special_tokens=False)["input_ids"]
            self._known[text] = normalize(self.words[ids].sum(0), dim=0)
        return torch.stack([self._known[t] for t in texts])


def ranked(reward: Reward, seed: int) -> Measures:
    """How often a reward orders two answers to a request as the gold does, and the gold of the one of 16 that it likes best."""
    drawn = pool(seed)
    with metered():
        said = score(reward, prompts=drawn.prompts, completions=drawn.completions, batch_size=256,
                     group=[i // ANSWERS for i in range(len(drawn.prompts))]).values.reshape(-1, ANSWERS)  # fmt: skip
    best = said.argmax(1, keepdim=True)
    return {"gold": float(drawn.gold.gather(1, best).mean()), "accuracy": concordance(said, drawn.gold)}


def concordance(said: Float[Tensor, "p a"], true: Float[Tensor, "p a"]) -> float:
    """Share of pairs in a row, of different worth, that are ordered rightly; a tie counts half."""
    first, second = torch.triu_indices(said.shape[1], said.shape[1], 1)
    gap, lead = true[:, first] - true[:, second], said[:, first] - said[:, second]
    right = (lead * gap.sign()).sign().add(1).div(2)
    return float(right[gap.abs() > 1e-6].mean())


SMALL, POOL, STEPS = (48, 2), 4, 250
"""Width and layers of a small base; how many of them there are; steps of pretraining."""


def small_base(seed: int) -> Path:
    """A small language model of this world, on which a reward model trains in seconds; seeds share a few of them."""

    def make() -> Any:
        return pretrain(500 + seed % POOL, steps=STEPS, width=SMALL[0], layers=SMALL[1], shares=PLAIN)[0]

    folder: Path = kept(
        f"letters small base {SMALL} {STEPS}", seed % POOL, make, LanguagePolicy.save, lambda path: path
    )
    return folder
