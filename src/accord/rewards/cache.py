"""Scores looked up before they are computed again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.engine.store import Blobs
from accord.errors import ConfigError, RewardError
from accord.feedback import picture_key, prompt_key
from accord.rewards.reward import Reward, name_of, score
from accord.rewards.scores import Scores, Span


class Cached:
    """A reward whose scores are kept under its fingerprint, the sample and the sample's columns.

    Only for rewards with a `fingerprint` and whose value of a sample depends on that sample alone, not on its group.
    Scores come back with all they carry, but without a gradient; what a reward extracts or writes has to be such as JSON can say.
    """

    def __init__(self, reward: Reward, folder: str | Path | None) -> None:
        fingerprint = getattr(reward, "fingerprint", None)
        if not fingerprint:
            raise ConfigError(
                f"reward {name_of(reward)} has no fingerprint, so its scores can't be cached: give it one "
                "(any text that changes whenever its scores would)"
            )
        self.reward, self.name, self._fingerprint = reward, name_of(reward), str(fingerprint)
        self._store = Blobs(folder, "scores")
        self.hits = self.misses = 0

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        columns.pop("group", None)
        keys = [
            Blobs.key(self._fingerprint, prompt_key(p), _key(c), {k: _key(v[i]) for k, v in columns.items()})
            for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
        ]
        known = self._store.get(keys)
        todo = {k: i for i, k in enumerate(keys) if k not in known}
        self.misses += len(todo)
        self.hits += len(keys) - len(todo)
        if todo:
            rows = list(todo.values())
            said = score(self.reward, prompts=[prompts[i] for i in rows], completions=[completions[i] for i in rows],
                         **{k: [v[i] for i in rows] for k, v in columns.items()}).to("cpu")  # type: ignore[arg-type]  # fmt: skip
            fresh = {k: self._written(said.select([i])) for i, k in enumerate(todo)}
            self._store.put(fresh)
            known |= fresh
        return Scores.concat([_scores(json.loads(known[k])) for k in keys])

    def _written(self, row: Scores) -> bytes:
        try:
            return json.dumps(_plain(row)).encode()
        except TypeError as error:
            raise RewardError(
                f"scores of {self.name} can't be cached, as they hold what JSON can't say: {error}"
            ) from None


def _key(value: Any) -> Any:
    """A tensor by all its numbers: its text shows only some."""
    return picture_key(value) if isinstance(value, Tensor) else value


def _plain(x: Any) -> Any:
    """What JSON can say of scores, with the kind of their tensors."""
    if isinstance(x, Tensor):
        return {"kind": str(x.dtype).removeprefix("torch."), "numbers": x.tolist()}
    if isinstance(x, Scores):
        return {f.name: _plain(v) for f in fields(x) if (v := getattr(x, f.name)) is not None}
    return {k: _plain(v) for k, v in x.items()} if isinstance(x, Mapping) else x


def _scores(told: dict[str, Any]) -> Scores:
    """`_plain` undone."""
    found: dict[str, Any] = {k: _tensor(v) if isinstance(v, dict) and "kind" in v else v for k, v in told.items()}
    found["aspects"] = {k: _tensor(v) for k, v in told["aspects"].items()}
    found["parts"] = {k: _scores(v) for k, v in told["parts"].items()}
    if "spans" in told:
        found["spans"] = [[Span(*s) for s in row] for row in told["spans"]]
    return Scores(**found)


def _tensor(told: dict[str, Any]) -> Tensor:
    return torch.tensor(told["numbers"], dtype=getattr(torch, told["kind"]))
