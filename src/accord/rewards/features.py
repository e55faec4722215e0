"""Frozen features of answers, computed once and kept by content: on them a head trains in seconds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.store import Store, fingerprint
from accord.feedback import Prompt, picture_key, prompt_key
from accord.policies.base import Group
from accord.policies.trunk import Trunk
from accord.rewards.encoder import SentenceEncoder


class Features(ABC):
    """A table of features under (model, prompt, answer).

    Args:
        fingerprint: changes whenever features would. width: of a row. folder: where the table is kept between runs; None keeps it
            in memory.

    Attributes:
        computed: how many rows were not in the table.
    """

    def __init__(self, fingerprint: str, width: int, folder: str | Path | None = None) -> None:
        self.fingerprint, self.width, self.computed = fingerprint, width, 0
        self._store = Store(folder, "features")

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        """Features of answers to prompts, on the CPU."""
        samples = list(zip(prompts, completions, strict=True))
        keys = [Store.key(self.fingerprint, prompt_key(p), picture_key(c)) for p, c in samples]
        known = self._store.get(keys)
        todo = {k: s for k, s in zip(keys, samples, strict=True) if k not in known}
        if todo:
            self.computed += len(todo)
            fresh = dict(zip(todo, self.compute(list(todo.values())).float().cpu(), strict=True))
            self._store.put(fresh)
            known |= fresh
        return torch.stack([known[k] for k in keys]) if keys else torch.zeros(0, self.width)

    @abstractmethod
    def compute(self, samples: Sequence[tuple[Prompt, Any]]) -> Float[Tensor, "n d"]:
        """Features of (prompt, answer), by the model."""


class SentenceFeatures(Features):
    """Prompt, answer and their product, each of a sentence encoder."""

    def __init__(self, encoder: SentenceEncoder, folder: str | Path | None = None) -> None:
        super().__init__(f"{encoder.fingerprint}:{encoder.max_tokens}", 3 * encoder.width, folder)
        self.encoder = encoder

    def compute(self, samples: Sequence[tuple[Prompt, Any]]) -> Float[Tensor, "n d"]:
        return self.encoder.of_answers([p for p, _ in samples], [c for _, c in samples])


class TrunkFeatures(Features):
    """The last hidden state of a language model or reward model as it is now, where a reward head would read it; a prompt is
    computed once for all its answers.

    Args:
        batch_size: prompts at once.
    """

    def __init__(self, trunk: Trunk, folder: str | Path | None = None, *, batch_size: int = 16) -> None:
        super().__init__(fingerprint(trunk.model), trunk.config.get_text_config().hidden_size, folder)
        self.trunk, self.batch_size = trunk, batch_size

    @torch.no_grad()
    def compute(self, samples: Sequence[tuple[Prompt, Any]]) -> Float[Tensor, "n d"]:
        answers: dict[str, list[int]] = {}
        for i, (p, _) in enumerate(samples):
            answers.setdefault(prompt_key(p), []).append(i)
        rows, found = list(answers.values()), torch.zeros(len(samples), self.width)
        for at in range(0, len(rows), self.batch_size):
            some = rows[at : at + self.batch_size]
            tree = self.trunk.tree([Group(samples[r[0]][0], tuple(samples[i][1] for i in r)) for r in some])
            states = self.trunk.hidden(tree)
            found[[i for r in some for i in r]] = states[tree.last.to(states.device)].float().cpu()
        return found
