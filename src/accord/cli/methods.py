"""The methods of `accord align`: what each learns from, which options it has, and how it is made of a policy."""

import contextlib
from typing import Any, Literal

from accord import losses
from accord.algorithms import GRPO, KTO, PPO, RAFT, RLOO, Preference, Rollout, Supervised
from accord.cli.options import check_options
from accord.errors import ConfigError
from accord.feedback import Comparison, Example, Label, Ranking, Record
from accord.policies import Sampling

Method = Literal["dpo", "ipo", "simpo", "orpo", "rpo", "kto", "sft", "grpo", "rloo", "ppo", "raft"]
PAIRED = ("dpo", "ipo", "simpo", "orpo", "rpo")
ON_POLICY: dict[str, Any] = {"grpo": GRPO, "rloo": RLOO, "ppo": PPO, "raft": RAFT}
LEARNS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(PAIRED, (Comparison, Ranking)), "kto": (Label,), "sft": (Example, Comparison),
    **dict.fromkeys(ON_POLICY, (Record,)),
}  # fmt: skip
"""The kinds of records that a method can use; of any kind, an on-policy method uses the prompt."""

NOT_BY_NAME = {"self", "policy", "reward", "sampling", "options", "group_size", "credit", "critic", "reference", "store",
               "c", "r"}  # fmt: skip
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
        takers = [ON_POLICY[method], Rollout.__init__]
    else:
        if reward is not None:
            raise ConfigError(
                f"{method} learns from feedback, not from a reward: leave --reward out, or take grpo, rloo, ppo or raft"
            )
        if judge is not None:
            raise ConfigError(f"{method} draws no answers to be judged: leave --judge out")
        if group_size is not None:
            raise ConfigError(f"{method} draws no answers: leave --group_size out")
        takers = [KTO.__init__ if method == "kto" else getattr(losses, method)] if method != "sft" else []
    checked = check_options(takers, options, method, hidden=NOT_BY_NAME)
    with contextlib.suppress(_Reached):
        make(method, _Absent(), checked, None, sampling, group_size)
    return checked


def make(method: Method, policy: Any, options: dict[str, Any], reward: Any, sampling: Sampling, group_size: int | None,
         store: str | None = None) -> Any:  # fmt: skip
    """The algorithm that trains this policy."""
    if method in ON_POLICY:
        more = {} if group_size is None else {"group_size": group_size}
        return ON_POLICY[method](policy, reward, sampling=sampling, **options, **more)
    if method in PAIRED:
        return Preference(policy, method, store=store, **options)  # type: ignore[arg-type]
    return KTO(policy, store=store, **options) if method == "kto" else Supervised(policy)


class _Reached(Exception):
    """An algorithm has accepted its options and turns to the policy."""


class _Absent:
    """Stands for a policy that isn't loaded yet, so that an algorithm's own checks of its options come before that."""

    sampling_kind = Sampling

    def freeze(self, which: str) -> Any:
        raise _Reached

    def __deepcopy__(self, memo: Any) -> Any:
        raise _Reached
