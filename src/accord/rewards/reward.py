"""The contract of a reward, and the one place where rewards are called."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from accord.errors import FeedbackError, RewardError
from accord.feedback import Comparison, columns_of
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards.scores import Scores


@runtime_checkable
class Reward(Protocol):
    """Anything callable by keyword with prompts, completions, group and further columns, one entry a sample.

    It returns a number for each sample (None: does not apply), a tensor, or `Scores`. A reward may have a
    `fingerprint` (then its values can be cached) and a running state (`state`, `load_state`).
    """

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Any: ...


def score(reward: Reward, *, prompts: Sequence[Any], completions: Any, batch_size: int | None = None,
          **columns: Any) -> Scores:  # fmt: skip
    """Call a reward and check what it says: float32, where the pictures lie, or on the CPU for anything but pictures.

    Args:
        completions: pictures reach the reward as one tensor [N, 3, H, W] in [0, 1], clips as [N, frames, 3, H, W], anything else
            as it is.
        batch_size: score so many at a time; None all at once. Groups are never cut apart.

    Raises:
        RewardError: a value is NaN or infinite, or there is not one for each sample.
    """
    n = len(completions)
    completions = _stacked(completions)
    home = completions.device if isinstance(completions, Tensor) else torch.device("cpu")
    group = columns.setdefault("group", list(range(n)))
    for name, column in {"prompts": prompts, **columns}.items():
        if not hasattr(column, "__len__") or len(column) != n:
            raise RewardError(f"{name} must have one entry for each of {n} samples")
    parts = []
    for rows in _batches(group, batch_size or n):
        part = {k: [v[i] for i in rows] for k, v in columns.items()}
        some = completions[torch.tensor(rows, device=home)] if isinstance(completions, Tensor) else [completions[i] for i in rows]  # fmt: skip
        said = reward(prompts=[prompts[i] for i in rows], completions=some, **part)
        parts.append(_checked(name_of(reward), said, len(rows), home))
    return parts[0] if len(parts) == 1 else Scores.concat(parts)


def score_drawn(reward: Reward, drawn: Rollouts, policy: Samples, *, batch_size: int | None = None) -> Scores:
    """Score what a policy drew, each sample with its prompt, group and columns. Pictures are read on the policy's device,
    so that a reward's networks run there."""
    completions = _stacked(drawn.completions)
    if isinstance(completions, Tensor) and (device := getattr(policy, "device", None)) is not None:
        completions = completions.to(device)
    return score(reward, prompts=drawn.prompt_of_each(), completions=completions, group=drawn.group.tolist(),
                 batch_size=batch_size, **drawn.context)  # fmt: skip


def score_pairs(reward: Reward, pairs: Sequence[Comparison]) -> Scores:
    """Both answers of every comparison, the chosen one before the rejected one; a pair is a group."""
    rows = [p for p in pairs for _ in "cr"]
    columns: dict[str, Any] = reward_columns(rows)
    return score(reward, prompts=[p.prompt for p in rows], completions=[c for p in pairs for c in (p.chosen, p.rejected)],
                 group=[i for i in range(len(pairs)) for _ in "cr"], **columns)  # fmt: skip


def reward_columns(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns of rows, for rewards to read by name.

    Raises:
        FeedbackError: one has a name under which rewards get something else.
    """
    columns = columns_of(rows)
    taken = sorted({"prompts", "completions", "group", "batch_size"} & columns.keys())
    if taken:
        raise FeedbackError(f"no column can be called {taken[0]!r}: rewards get something else by that name; rename it")
    return columns


def _stacked(completions: Any) -> Any:
    if isinstance(completions, Tensor) or not all(isinstance(c, Tensor) and c.ndim in (3, 4) for c in completions):
        return completions
    shapes = sorted({tuple(c.shape) for c in completions})
    if len(shapes) > 1:
        raise RewardError(
            f"pictures and clips are scored together in one size, but these are {shapes[0]} and {shapes[1]}"
        )
    return torch.stack(list(completions)) if shapes else completions


def _batches(group: Sequence[int], size: int) -> list[list[int]]:
    """Runs of rows of about `size`, cut only where a group ends."""
    batches: list[list[int]] = [[]]
    for i, g in enumerate(group):
        if len(batches[-1]) >= size and g != group[i - 1]:
            batches.append([])
        batches[-1].append(i)
    return batches


def _checked(name: str, said: Any, n: int, home: torch.device) -> Scores:
    scores = said if isinstance(said, Scores) else _read(name, said, home)
    scores = replace(scores, values=scores.values.float()).to(home)
    if scores.values.shape != (n,):
        raise RewardError(f"reward {name} returned {tuple(scores.values.shape)} values for {n} samples")
    for what, size in scores.sizes().items():
        if size != n:
            raise RewardError(f"reward {name} returned {what} for {size} of {n} samples")
    bad = ~torch.isfinite(scores.values) & scores.valid
    if bool(bad.any()):
        i = int(bad.nonzero()[0, 0])
        raise RewardError(
            f"reward {name} returned {float(scores.values[i]):g} for sample {i}; return None where it does not apply"
        )
    return scores if bool(scores.valid.all()) else scores.with_values(scores.values)


def _read(name: str, said: Any, home: torch.device) -> Scores:
    """Plain values as scores, with their graph."""
    if isinstance(said, Tensor) and not said.is_complex():
        return Scores(said, torch.ones_like(said, dtype=torch.bool))
    try:
        if isinstance(said, str | bytes | Mapping | Set | Tensor):
            raise TypeError(f"a {type(said).__name__} is no list of numbers")
        values = list(said)
        valid = torch.tensor([v is not None for v in values], dtype=torch.bool)
        numbers = [0.0 if v is None else _number(v) for v in values]
        if any(isinstance(v, Tensor) for v in numbers):
            return Scores(torch.stack([torch.as_tensor(v, dtype=torch.float32, device=home) for v in numbers]), valid)
        return Scores(torch.tensor(numbers), valid)
    except (TypeError, ValueError) as error:
        raise RewardError(f"reward {name} must return one number (or None) for each sample: {error}") from error


def _number(v: Any) -> float | Tensor:
    if isinstance(v, str | bytes) or getattr(v, "ndim", 0) > 0:
        raise TypeError(f"{str(v)[:40]!r} is no number")
    return v if isinstance(v, Tensor) else float(v)


def name_of(reward: Any) -> str:
    """What to call a reward in metrics and reports."""
    return str(getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__)


def state_of(reward: Any) -> dict[str, Tensor]:
    """A reward's running state, empty for most."""
    return reward.state() if hasattr(reward, "state") else {}


def states_of(rewards: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The running states of several rewards, each under its name."""
    return {f"{n}.{k}": v for n, r in rewards.items() for k, v in state_of(r).items()}


def load_states_of(rewards: Mapping[Any, Any], state: dict[str, Tensor]) -> None:
    for n, r in rewards.items():
        load_state_of(r, {k.removeprefix(f"{n}."): v for k, v in state.items() if k.startswith(f"{n}.")})


def load_state_of(reward: Any, state: dict[str, Tensor]) -> None:
    if hasattr(reward, "load_state") and state:
        reward.load_state(state)
