"""Rewards across the border to TRL, both ways: its trainers take ours, ours take its `reward_funcs`."""

from collections.abc import Callable, Sequence
from typing import Any

from accord.rewards.reward import Reward, name_of, score


def to_trl(reward: Reward) -> Callable[..., list[float | None]]:
    """A function for TRL's `reward_funcs`: floats, None where the reward does not apply."""

    def function(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        aligned: dict[str, Any] = {k: v for k, v in columns.items() if isinstance(v, list) and len(v) == len(texts)}
        for name in ("completion_ids", "trainer_state", "log_extra", "log_metric"):
            aligned.pop(name, None)
        said = score(reward, prompts=prompts, completions=texts, **aligned)
        return [v if ok else None for v, ok in zip(said.values.tolist(), said.valid.tolist(), strict=True)]

    function.__name__ = name_of(reward)
    return function


def from_trl(function: Callable[..., Sequence[float | None]]) -> Reward:
    """A reward of a TRL reward function; answers to conversations reach it as lists of messages, as TRL gives them."""

    def reward(
        *, prompts: Sequence[Any], completions: Sequence[str], group: Any = None, **columns: Any
    ) -> list[float | None]:
        shaped = [
            c if isinstance(p, str) else [{"role": "assistant", "content": c}]
            for p, c in zip(prompts, completions, strict=True)
        ]
        return list(function(prompts=list(prompts), completions=shaped, **columns))

    reward.__name__ = name_of(function)
    return reward
