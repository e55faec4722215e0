"""Held-out prompts, answered anew from time to time: the evaluation hook of `fit`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from accord.elsewhere import filled
from accord.engine.run import write_text
from accord.evaluation.pictures import diversity, save_picture
from accord.evaluation.text import distinct
from accord.feedback import prompt_of, text_of
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards import Reward
from accord.rewards.combine import reward_of
from accord.rewards.reward import reward_columns, score_drawn


class Compares(Protocol):
    """A frozen policy, or an algorithm's reference."""

    def logprobs(self, rollouts: Rollouts) -> Tensor: ...


class Probe:
    """Called with a step, answers the same prompts with the same seeds and measures.

    Args:
        rewards: by name; the one that is optimised, and any that is not (a held-out judge, a world's gold).
        folder: where samples/<step>.jsonl goes; None keeps only the measures.
        reference: for the KL of an answer, in nats of the whole of it; there is none of pictures that are drawn without fresh noise at any step.
    """

    def __init__(self, policy: Samples, prompts: Sequence[Any], rewards: Mapping[str, Reward], sampling: Any = None,
                 *, n: int = 1, seed: int = 0, folder: str | Path | None = None, reference: Compares | None = None) -> None:  # fmt: skip
        self.policy, self.n, self.seed = policy, n, seed
        self.rewards = {name: reward_of(reward) for name, reward in rewards.items()}
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")
        self.prompts = [prompt_of(p) for p in prompts]
        self.columns = reward_columns(prompts)
        self.folder = Path(folder) if folder is not None else None
        self.reference = reference

    def __call__(self, step: int) -> dict[str, float]:
        drawn = self.policy.sample(self.prompts, self.n, self.sampling, seed=self.seed, context=self.columns)
        measures = _surface(drawn)
        if self.reference is not None and bool(drawn.mask.any()):
            gap = (drawn.logprobs - self.reference.logprobs(drawn).cpu()) * drawn.mask
            measures["kl"] = drawn.averaged * float(gap.sum(-1).mean())
        said: dict[str, list[float | None]] = {}
        aspects: dict[str, list[float | None]] = {}
        for name, reward in self.rewards.items():
            s = score_drawn(reward, drawn, self.policy)
            measures[f"reward/{name}"] = float(s.values[s.valid].mean()) if bool(s.valid.any()) else float("nan")
            measures |= {
                f"reward/{name}/{a}": float(v[s.valid].mean()) for a, v in s.aspects.items() if bool(s.valid.any())
            }
            said[name] = _where_valid(s.values, s.valid)
            aspects |= {f"{name}/{a}": _where_valid(v, s.valid) for a, v in s.aspects.items()}
        if self.folder is not None:
            self._write(step, drawn, said, aspects)
        return measures

    def _write(
        self, step: int, drawn: Rollouts, said: dict[str, list[float | None]], aspects: dict[str, list[float | None]]
    ) -> None:
        assert self.folder is not None
        folder = self.folder / "samples"
        rows = []
        for i, (prompt, completion) in enumerate(zip(drawn.prompt_of_each(), drawn.completions, strict=True)):
            if isinstance(completion, Tensor):
                save_picture(completion, folder / f"{step:06d}" / f"{i:04d}.png")
                prompt, completion = text_of(prompt), f"{step:06d}/{i:04d}.png"
            rows.append({"prompt": prompt, "completion": completion, "tokens": int(drawn.length[i]),
                         "finished": bool(drawn.finished[i]), "rewards": {n: v[i] for n, v in said.items()}, "aspects": {n: v[i] for n, v in aspects.items()}})  # fmt: skip
        write_text(folder / f"{step:06d}.jsonl", "".join(json.dumps(r) + "\n" for r in rows))


def _where_valid(values: Tensor, valid: Tensor) -> list[float | None]:
    return [v if ok else None for v, ok in zip(values.tolist(), valid.tolist(), strict=True)]


def _surface(drawn: Rollouts) -> dict[str, float]:
    """What can be said of answers without a reward."""
    if drawn.completions and isinstance(drawn.completions[0], Tensor):
        return {"diversity": diversity(drawn.completions)}
    return {
        "length": float(drawn.length.float().mean()),
        "finished": float(drawn.finished.float().mean()),
        "distinct": distinct(drawn.completions),
    }
