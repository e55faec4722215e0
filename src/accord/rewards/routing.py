"""One reward for one kind of prompt, another for the next."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from accord.errors import ConfigError, RewardError
from accord.rewards.reward import Reward, load_states_of, score, states_of
from accord.rewards.scores import Scores


def routed(by: str, rewards: Mapping[Any, Reward]) -> "Routed":
    """The reward that a sample's column names: ``routed("kind", {"sum": exact_answer(), "essay": model})``.

    Args:
        by: the column. rewards: for each of its values; each is asked of its own samples alone.
    """
    return Routed(by, rewards)


class Routed:
    """See `routed`. Aspects that some samples lack are 0 for them."""

    def __init__(self, by: str, rewards: Mapping[Any, Reward]) -> None:
        if not rewards:
            raise ConfigError(f"routed({by!r}) wants a reward for each value of the column")
        self.by, self.rewards = by, dict(rewards)

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        kinds = columns.get(self.by)
        if kinds is None:
            raise RewardError(f"this reward goes by the column {self.by!r}, but the data have only {sorted(columns)}")
        odd = [k for k in kinds if k not in self.rewards]
        if odd:
            raise RewardError(
                f"no reward for {self.by}={odd[0]!r}: there are some for {', '.join(map(str, self.rewards))}"
            )
        rows, parts = [], []
        for kind, reward in self.rewards.items():
            mine = [i for i, k in enumerate(kinds) if k == kind]
            if mine:
                some = completions[mine] if isinstance(completions, Tensor) else [completions[i] for i in mine]
                own: dict[str, Any] = {name: [column[i] for i in mine] for name, column in columns.items()}
                rows += mine
                parts.append(score(reward, prompts=[prompts[i] for i in mine], completions=some, **own))
        names = dict.fromkeys(a for p in parts for a in p.aspects)
        whole = Scores.concat([_with(p, list(names)) for p in parts])
        return whole.select(torch.tensor(rows).argsort())

    def state(self) -> dict[str, Tensor]:
        return states_of(self.rewards)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_states_of(self.rewards, state)


def _with(part: Scores, names: list[str]) -> Scores:
    none = torch.zeros_like(part.values)
    return part.with_values(part.values, **{a: none for a in names if a not in part.aspects})
