"""Answers measured against one that is fixed for each prompt, by any reward or by a language model that compares."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.errors import RewardError
from accord.policies import LanguagePolicy
from accord.policies.placement import Device, Dtype
from accord.rewards.asking import PolicyJudge
from accord.rewards.judge import PairJudge
from accord.rewards.reward import Reward, load_state_of, score, state_of
from accord.rewards.scores import Scores


class Anchored:
    """``sigmoid(r(x, y) - r(x, a))``: the chance that an answer y beats the anchor a of its prompt, if r is a Bradley-Terry reward. What
    r adds to all answers of a prompt cancels.

    Args:
        reward: r. anchor: column of the answers to beat.
    """

    def __init__(self, reward: Reward, *, anchor: str = "anchor") -> None:
        self.reward, self.anchor = reward, anchor

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        if self.anchor not in columns:
            raise RewardError(
                f"this reward compares with the column {self.anchor!r}, but the data have only {sorted(columns)}"
            )
        n, anchors, group = len(prompts), columns[self.anchor], columns["group"]
        first = {g: i for i, g in reversed(list(enumerate(group)))}
        rows = [*range(n), *first.values()]
        own: dict[str, Any] = {k: [v[i] for i in rows] for k, v in {"prompts": prompts, **columns}.items()}
        said = score(self.reward, completions=[*completions, *(anchors[i] for i in first.values())], **own)
        place = {g: n + k for k, g in enumerate(first)}
        ours, theirs = said.select(range(n)), said.select([place[g] for g in group])
        valid = ours.valid & theirs.valid
        return Scores(torch.sigmoid(ours.values - theirs.values).masked_fill(~valid, 0.0), valid)

    def state(self) -> dict[str, Tensor]:
        return state_of(self.reward)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_state_of(self.reward, state)


def judged_by(model: str, *, anchor: str = "anchor", device: Device = "auto", dtype: Dtype = "auto") -> PairJudge:
    """A language model that says how likely each answer beats the anchor of its prompt, by its labels' log-probabilities, asked in both orders.

    Args:
        model: hub name or folder. anchor: column of the answers to beat. device, dtype: as for a policy.
    """
    return PairJudge(PolicyJudge(LanguagePolicy.load(model, device=device, dtype=dtype).freeze("now")), anchor=anchor)
