"""Scores looked up before they are computed again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.engine.store import Store
from accord.errors import ConfigError
from accord.feedback import picture_key, prompt_key
from accord.rewards.reward import Reward, name_of, score
from accord.rewards.scores import Scores


class Cached:
    """A reward whose values are kept under its fingerprint, the sample and the sample's columns.

    Only for rewards with a `fingerprint` and whose value of a sample depends on that sample alone, not on its group.
    Values come back without a gradient and without aspects.
    """

    def __init__(self, reward: Reward, folder: str | Path | None) -> None:
        fingerprint = getattr(reward, "fingerprint", None)
        if not fingerprint:
            raise ConfigError(
                f"reward {name_of(reward)} has no fingerprint, so its scores can't be cached: give it one "
                "(any text that changes whenever its scores would)"
            )
        self.reward, self.name, self._fingerprint = reward, name_of(reward), str(fingerprint)
        self._store = Store(folder, "scores")
        self.hits = self.misses = 0

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        columns.pop("group", None)
        keys = [
            Store.key(self._fingerprint, prompt_key(p), _key(c), {k: _key(v[i]) for k, v in columns.items()})
            for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
        ]
        known = self._store.get(keys)
        todo = {k: i for i, k in enumerate(keys) if k not in known}
        self.misses += len(todo)
        self.hits += len(keys) - len(todo)
        if todo:
            rows = list(todo.values())
            said = score(self.reward, prompts=[prompts[i] for i in rows], completions=[completions[i] for i in rows],
                         **{k: [v[i] for i in rows] for k, v in columns.items()})  # type: ignore[arg-type]  # fmt: skip
            fresh = dict(zip(todo, torch.stack([said.values.detach(), said.valid.float()], -1), strict=True))
            self._store.put(fresh)
            known |= fresh
        table = torch.stack([known[k] for k in keys])
        return Scores(table[:, 0], table[:, 1].bool())


def _key(value: Any) -> Any:
    """A tensor by all its numbers: its text shows only some."""
    return picture_key(value) if isinstance(value, Tensor) else value
