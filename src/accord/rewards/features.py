"""Frozen features of answers, computed once and kept by content: on them a head trains in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.store import Store, fingerprint
from accord.feedback import Comparison, Prompt, picture_key, prompt_key
from accord.policies.base import Group
from accord.policies.trunk import Trunk
from accord.rewards.encoder import SentenceEncoder


class Features(Protocol):
    """Rows of numbers for answers to prompts, on the CPU, the same for the same sample.

    Attributes:
        width: of a row. fingerprint: changes whenever rows would.
    """

    @property
    def width(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]: ...


class SentenceFeatures:
    """Embeddings of prompt and answer, and their product; kept where the encoder keeps them."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.encoder, self.width = encoder, 3 * encoder.width
        self.fingerprint = f"{encoder.fingerprint}:{encoder.max_tokens}"
        self.source: dict[str, Any] = {"encoder": encoder.source, "max_tokens": encoder.max_tokens}

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        return self.encoder.of_answers(list(prompts), list(completions))


class Weights:
    """A hash of a network's weights as they are now; they are read again after they were changed, moved or cast."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._hash: tuple[Any, str] = ((), "")

    @property
    def fingerprint(self) -> str:
        now = [(w._version, w.dtype, w.device, w.data_ptr()) for w in self._network.state_dict().values()]
        if now != self._hash[0]:
            self._hash = now, fingerprint(self._network)
        return self._hash[1]


class TrunkFeatures:
    """The last hidden state of a language model or reward model as it is now, where a reward head would read it; a prompt is
    computed once for all its answers.

    Args:
        folder: where the table is kept between runs; None keeps it in memory. batch_size: prompts at once.

    Attributes:
        computed: how many rows were not in the table.
    """

    def __init__(self, trunk: Trunk, folder: str | Path | None = None, *, batch_size: int = 16) -> None:
        self.trunk, self.batch_size, self.computed = trunk, batch_size, 0
        self.width: int = trunk.config.get_text_config().hidden_size
        self._store = Store(folder, "features")
        self._weights = Weights(trunk.model)

    @property
    def fingerprint(self) -> str:
        """Of the trunk as it is now."""
        return self._weights.fingerprint

    @property
    def source(self) -> dict[str, Any]:
        """The name of the language model or reward model, and the precision in which it lies here."""
        kind = "reward" if hasattr(self.trunk, "values_of") else "model"
        return {kind: self.trunk.name, "dtype": precision_of(self.trunk.model)}

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        samples = list(zip(prompts, completions, strict=True))
        now = self.fingerprint
        keys = [Store.key(now, prompt_key(p), picture_key(c)) for p, c in samples]
        known = self._store.get(keys)
        todo = {k: s for k, s in zip(keys, samples, strict=True) if k not in known}
        if todo:
            self.computed += len(todo)
            fresh = dict(zip(todo, self._compute(list(todo.values())), strict=True))
            self._store.put(fresh)
            known |= fresh
        return torch.stack([known[k] for k in keys]) if keys else torch.zeros(0, self.width)

    @torch.no_grad()
    def _compute(self, samples: Sequence[tuple[Prompt, Any]]) -> Float[Tensor, "n d"]:
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


def precision_of(network: nn.Module) -> str:
    """As `dtype_of` reads it."""
    return str(next(network.parameters()).dtype).removeprefix("torch.")


class Remembered:
    """Features of which every row is computed once, and kept in memory for as long as this is."""

    def __init__(self, features: Features) -> None:
        self.features, self.width, self.fingerprint = features, features.width, features.fingerprint
        self._rows: dict[tuple[str, str], Float[Tensor, "d"]] = {}

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        keys = [(prompt_key(p), picture_key(c)) for p, c in zip(prompts, completions, strict=True)]
        new = {k: i for i, k in enumerate(keys) if k not in self._rows}
        if new:
            rows = self.features([prompts[i] for i in new.values()], [completions[i] for i in new.values()])
            self._rows.update(zip(new, rows, strict=True))
        return torch.stack([self._rows[k] for k in keys])


def of_pairs(features: Features, pairs: Sequence[Comparison]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Features of the chosen and of the rejected answers."""
    prompts = [p.prompt for p in pairs]
    both = features([*prompts, *prompts], [*(p.chosen for p in pairs), *(p.rejected for p in pairs)])
    return both[: len(pairs)], both[len(pairs) :]
