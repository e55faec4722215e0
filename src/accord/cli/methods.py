"""The methods of `accord align`: what each learns from, which options it has, and how it is made of a policy."""

import contextlib
from typing import Any, Literal

from torch import nn

from accord.catalogue import find
from accord.cli.options import check_options
from accord.errors import ConfigError
from accord.feedback import Comparison, Example, Label, Ranking, Record
from accord.policies import LanguagePolicy, Sampling

Method = Literal["dpo", "ipo", "simpo", "orpo", "rpo", "kto", "sft", "grpo", "rloo", "ppo", "raft"]
PAIRED = ("dpo", "ipo", "simpo", "orpo", "rpo")
ON_POLICY = ("grpo", "rloo", "ppo", "raft")
LEARNS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(PAIRED, (Comparison, Ranking)), "kto": (Label,), "sft": (Example, Comparison),
    **dict.fromkeys(ON_POLICY, (Record,)),
}  # fmt: skip
"""The kinds of records that a method can use; of any kind, an on-policy method uses the prompt."""

NOT_BY_NAME = {"self", "policy", "reward", "sampling", "options", "group_size", "credit", "critic", "reference", "store", "judge"}  # fmt: skip
"""What `options:` can't set: options of the command itself, and things that no configuration can write."""


def check(
    method: Method, options: dict[str, Any], reward: Any, judge: Any, sampling: Sampling, group_size: int | None
) -> dict[str, Any]:
    """The method's options, checked before anything is loaded.

    Raises:
        ConfigError: a name, kind or value that the method refuses.
    """
    if method in ON_POLICY:
        if reward is None:
            raise ConfigError(f"{method} wants a reward: a saved model, file.py:function, or a rule (--reward)")
    else:
        if reward is not None:
            raise ConfigError(
                f"{method} learns from feedback, not from a reward: leave --reward out, or take grpo, rloo, ppo or raft"
            )
        if judge is not None:
            raise ConfigError(f"{method} draws no answers to be judged: leave --judge out")
        if group_size is not None:
            raise ConfigError(f"{method} draws no answers: leave --group_size out")
    checked = check_options([find(method).load()], options, method, hidden=NOT_BY_NAME)
    with contextlib.suppress(_Reached):
        make(method, _Absent(), checked, None, sampling, group_size)
    return checked


def make(method: Method, policy: Any, options: dict[str, Any], reward: Any, sampling: Sampling, group_size: int | None,
         store: str | None = None) -> Any:  # fmt: skip
    """The algorithm that trains this policy."""
    made = find(method).load()
    if method in ON_POLICY:
        more = {} if group_size is None else {"group_size": group_size}
        return made(policy, reward, sampling=sampling, **options, **more)
    return made(policy, **options, **({"store": store} if getattr(made, "needs_reference", False) is True else {}))


class _Reached(Exception):
    """An algorithm has accepted its options and turns to the policy."""


class _Absent(LanguagePolicy):
    """Stands for a policy that isn't loaded yet, so that an algorithm's own checks of its options come before that."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def freeze(self, which: str = "base") -> Any:
        raise _Reached

    def __deepcopy__(self, memo: Any) -> Any:
        raise _Reached
