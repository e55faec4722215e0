"""Held-out starts, acted from anew from time to time: the evaluation hook of `fit` for control policies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.elsewhere import filled
from accord.engine.run import write_text
from accord.feedback import prompt_of, text_of
from accord.policies.control import ControlPolicy
from accord.rewards import Reward
from accord.rewards.combine import reward_of
from accord.rewards.episodes import own_reward
from accord.rewards.reward import reward_columns, score_drawn


class Played:
    """Called with a step, acts from the same starts with the same draws, and measures: what the environment pays ("return"), rewards, length.

    Args:
        rewards: by name. folder: where samples/<step>.jsonl goes, a line for each episode; None keeps only the measures.
    """

    def __init__(self, policy: ControlPolicy, prompts: Sequence[Any], rewards: Mapping[str, Reward], sampling: Any = None, *, n: int = 1, seed: int = 0,
                 folder: str | Path | None = None) -> None:  # fmt: skip
        self.policy, self.n, self.seed, self.prompts, self.columns = (
            policy,
            n,
            seed,
            [prompt_of(p) for p in prompts],
            reward_columns(prompts),
        )
        self.rewards = {"return": own_reward, **{name: reward_of(reward) for name, reward in rewards.items()}}
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")
        self.folder = None if folder is None else Path(folder)

    def __call__(self, step: int) -> dict[str, float]:
        drawn = self.policy.sample(self.prompts, self.n, self.sampling, seed=self.seed, context=self.columns)
        said = {name: score_drawn(reward, drawn, self.policy).values for name, reward in self.rewards.items()}
        if self.folder is not None:
            rows = [{"prompt": text_of(p), "completion": f"{len(e.actions)} steps, {'to the end' if e.terminated else 'cut off'}", "tokens": len(e.actions),
                     "finished": e.terminated, "rewards": {n: float(v[i]) for n, v in said.items()}, "aspects": {}}
                    for i, (p, e) in enumerate(zip(drawn.prompt_of_each(), drawn.completions, strict=True))]  # fmt: skip
            write_text(self.folder / "samples" / f"{step:06d}.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
        return {"length": float(drawn.length.float().mean()), "finished": float(drawn.finished.float().mean()),
                **{f"reward/{name}": float(v.mean()) for name, v in said.items()}}  # fmt: skip
