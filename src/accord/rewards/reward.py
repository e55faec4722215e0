"""The contract of a reward, and the one place where rewards are called."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from accord.errors import RewardError
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
    """Call a reward and check what it says.

    Args:
        batch_size: score so many at a time; None all at once. Groups are never cut apart.

    Raises:
        RewardError: a value is NaN or infinite, or there is not one for each sample.
    """
    n = len(completions)
    group = columns.setdefault("group", list(range(n)))
    parts = []
    for rows in _batches(group, batch_size or n):
        part = {k: [v[i] for i in rows] for k, v in columns.items()}
        some = completions[rows] if isinstance(completions, Tensor) else [completions[i] for i in rows]
        parts.append(_checked(reward, reward(prompts=[prompts[i] for i in rows], completions=some, **part), len(rows)))
    return parts[0] if len(parts) == 1 else Scores.concat(parts)


def _batches(group: Sequence[int], size: int) -> list[list[int]]:
    """Runs of rows of about `size`, cut only where a group ends."""
    batches: list[list[int]] = [[]]
    for i, g in enumerate(group):
        if len(batches[-1]) >= size and g != group[i - 1]:
            batches.append([])
        batches[-1].append(i)
    return batches


def _checked(reward: Reward, said: Any, n: int) -> Scores:
    name = getattr(reward, "__name__", type(reward).__name__)
    if isinstance(said, Scores):
        scores = said
    elif isinstance(said, Tensor):
        scores = Scores.of(said.float())
    else:
        try:
            valid = torch.tensor([v is not None for v in said], dtype=torch.bool)
            scores = Scores(torch.tensor([0.0 if v is None else float(v) for v in said]), valid)
        except (TypeError, ValueError) as error:
            raise RewardError(f"reward {name} must return one number (or None) for each sample: {error}") from error
    if scores.values.shape != (n,):
        raise RewardError(f"reward {name} returned {tuple(scores.values.shape)} values for {n} samples")
    bad = ~torch.isfinite(scores.values) & scores.valid
    if bool(bad.any()):
        i = int(bad.nonzero()[0, 0])
        raise RewardError(
            f"reward {name} returned {float(scores.values[i]):g} for sample {i}; return None where it does not apply"
        )
    return scores


def name_of(reward: Any) -> str:
    """What to call a reward in metrics and reports."""
    return str(getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__)


def state_of(reward: Any) -> dict[str, Tensor]:
    """A reward's running state, empty for most."""
    return reward.state() if hasattr(reward, "state") else {}


def load_state_of(reward: Any, state: dict[str, Tensor]) -> None:
    if hasattr(reward, "load_state") and state:
        reward.load_state(state)
