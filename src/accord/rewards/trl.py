"""Rewards across the border to TRL, both ways: its trainers take ours, ours take its `reward_funcs`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accord.feedback import text_of_completion
from accord.rewards.reward import Reward, name_of, score


def to_trl(reward: Reward) -> Callable[..., list[float | None]]:
    """A function for TRL's `reward_funcs`: floats, None where the reward does not apply."""

    def function(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        ours = [c if isinstance(c, str) else _turn(c[-1]) for c in completions]
        aligned: dict[str, Any] = {k: v for k, v in columns.items() if isinstance(v, list) and len(v) == len(ours)}
        for name in ("completion_ids", "trainer_state", "log_extra", "log_metric"):
            aligned.pop(name, None)
        said = score(reward, prompts=prompts, completions=ours, **aligned)
        return [v if ok else None for v, ok in zip(said.values.tolist(), said.valid.tolist(), strict=True)]

    function.__name__ = name_of(reward)
    return function


def from_trl(function: Callable[..., Sequence[float | None]]) -> Reward:
    """A reward of a TRL reward function; answers to conversations reach it as lists of messages, as TRL gives them."""

    def reward(
        *, prompts: Sequence[Any], completions: Sequence[Any], group: Any = None, **columns: Any
    ) -> list[float | None]:
        shaped = [_shaped(p, c) for p, c in zip(prompts, completions, strict=True)]
        return list(function(prompts=list(prompts), completions=shaped, **columns))

    reward.__name__ = name_of(function)
    return reward


def _turn(message: Mapping[str, Any]) -> Any:
    """Its text, or the message itself where it says more (tool calls, reasoning)."""
    more = {k for k, v in message.items() if v} - {"role", "content"}
    return message if more else text_of_completion(message)


def _shaped(prompt: Any, completion: Any) -> Any:
    if isinstance(prompt, str):
        return text_of_completion(completion) if isinstance(completion, Mapping) else completion
    return [completion if isinstance(completion, Mapping) else {"role": "assistant", "content": completion}]
