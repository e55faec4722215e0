"""Several rewards as one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.errors import ConfigError, RewardError
from accord.rewards.reward import Reward, load_states_of, name_of, score, states_of
from accord.rewards.scores import Scores, Span
from accord.rewards.shaping import References

_WEIGHTED = ("sum", "logsigmoid-sum", "harmonic")
How = Literal["sum", "product", "min", "mean", "median", "mean-std", "logsigmoid-sum", "harmonic"]


def combine(rewards: Mapping[str, Reward], how: How = "sum", *, weights: Mapping[str, float] | None = None,
            references: Mapping[str, References] | None = None, k: float = 1.0) -> "Combined":  # fmt: skip
    """One reward of several named ones; each one's own value stays visible as an aspect.

    Args:
        how: "sum" (weighted), "product", "min", "mean", "median", "mean-std" (mean - k std over the rewards), or
            "logsigmoid-sum": ``sum_i w_i log s(r_i - ref_i(x))``, the logical AND of Bradley-Terry rewards
            (Wang et al. 2024, arXiv 2402.00742); "harmonic": ``1 / sum_i (w_i / r_i)`` of rewards in (0, 1] with weights
            that add up to 1: a high one can't pay for a low one (Miao et al. 2024, arXiv 2407.12164).
        weights: for the sums and the harmonic mean; 1 each where none are given (harmonic: equal shares).
        references: reference scores for each reward, for "logsigmoid-sum"; without, rewards count as centred.
    """
    return Combined(dict(rewards), how, dict(weights or {}), dict(references or {}), k)


def reward_of(said: Any) -> Reward:
    """A reward itself; a list of several, or several by name, as their sum, in which each stays visible.

    Raises:
        ConfigError: it can't be called.
    """
    if isinstance(said, Mapping):
        return combine(said)
    if isinstance(said, list | tuple):
        names = [name_of(r) for r in said]
        return combine(
            {n if names.count(n) == 1 else f"{n} {i}": r for i, (n, r) in enumerate(zip(names, said, strict=True), 1)}
        )
    if not callable(said):
        how = f": load it, as by accord.rewards.BradleyTerry.load({said!r})" if isinstance(said, str | Path) else ""
        raise ConfigError(f"a reward is something to be called, but got {said!r}{how}")
    return said


class Combined:
    """See `combine`. A sample is valid where any reward applies; those that don't are left out of it. All that each of them
    said stays under its name in `parts`."""

    def __init__(self, rewards: dict[str, Reward], how: How, weights: dict[str, float],
                 references: dict[str, References], k: float) -> None:  # fmt: skip
        if not rewards:
            raise ConfigError("combine() wants at least one reward")
        odd = sorted((weights.keys() | references.keys()) - rewards.keys())
        if odd:
            raise ConfigError(f"weights or references are given for {odd}, but the rewards are {sorted(rewards)}")
        if weights and how not in _WEIGHTED:
            raise ConfigError(f"weights have no meaning for how={how!r}")
        if how not in _FOLDS and how not in _WEIGHTED:
            raise ConfigError(f"how={how!r} is not one of {[*_WEIGHTED, *_FOLDS]}")
        if how == "harmonic":
            weights = weights or dict.fromkeys(rewards, 1 / len(rewards))
            if set(weights) != set(rewards) or min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-6:
                raise ConfigError(f"a harmonic mean wants a weight for every reward, together 1, but got {weights}")
        self.rewards, self.how, self.weights, self.references, self.k = rewards, how, weights, references, k

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        said = {n: score(r, prompts=prompts, completions=completions, **columns) for n, r in self.rewards.items()}
        table = torch.stack([s.values for s in said.values()], -1)
        valid = torch.stack([s.valid for s in said.values()], -1)
        if self.how == "logsigmoid-sum":
            table = logsigmoid(table - self._centres(prompts, table))
        weights = torch.tensor([self.weights.get(n, 1.0) for n in said], device=table.device)
        if self.how == "harmonic":
            values = 1 / (weights / table.clamp(min=1e-8)).masked_fill(~valid, 0.0).sum(-1)
        elif self.how in _WEIGHTED:
            values = (table * weights).masked_fill(~valid, 0.0).sum(-1)
        else:
            values = _FOLDS[self.how](table, valid, self.k)
        more = _known_to_one(said)
        if self.how == "sum" and any(s.spans is not None for s in said.values()):
            more["spans"] = self._pieces(said, completions)
        aspects = {n: s.values for n, s in said.items()}
        aspects |= {f"{n}/{aspect}": v for n, s in said.items() for aspect, v in s.aspects.items()}
        return Scores(values.masked_fill(~valid.any(-1), 0.0), valid.any(-1), aspects, parts=said, **more)

    def _pieces(self, said: Mapping[str, Scores], completions: Any) -> list[list[Span]]:
        """The pieces of all rewards with their weights; a reward of the whole text is one of the whole text."""
        found: list[list[Span]] = [[] for _ in completions]
        for name, s in said.items():
            w = self.weights.get(name, 1.0)
            for i, text in enumerate(completions):
                if bool(s.valid[i]):
                    own = [Span(0, len(text), float(s.values[i]))] if s.spans is None else s.spans[i]
                    found[i] += [Span(a, b, w * v) for a, b, v in own]
        return found

    def _centres(self, prompts: Sequence[Any], table: Tensor) -> Tensor:
        zero = torch.zeros(len(prompts), device=table.device)
        return torch.stack(
            [
                self.references[n].level(prompts).to(table.device) if n in self.references else zero
                for n in self.rewards
            ],
            -1,
        )

    def state(self) -> dict[str, Tensor]:
        return states_of(self.rewards)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_states_of(self.rewards, state)


class Ensemble:
    """Members that judge the same thing, folded into one value; keeps their values, their spread, and all they said (`parts`).

    mean, median, min, or "mean-std" = mean - k std with the population std (Eisenstein et al. 2023, arXiv 2312.09244).
    """

    def __init__(self, members: Sequence[Reward], how: Literal["mean", "median", "min", "mean-std"] = "mean", *,
                 k: float = 1.0) -> None:  # fmt: skip
        if not members:
            raise ConfigError("an ensemble wants at least one member")
        if how not in ("mean", "median", "min", "mean-std"):
            raise ConfigError(f"how={how!r} is not one of mean, median, min, mean-std")
        self.members, self.how, self.k = list(members), how, k

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        said = [score(m, prompts=prompts, completions=completions, **columns) for m in self.members]
        table = torch.stack([s.values for s in said], -1)
        valid = torch.stack([s.valid for s in said], -1)
        if bool((valid.any(-1) != valid.all(-1)).any()):
            raise RewardError("members of an ensemble disagree on which samples they apply to")
        values = _FOLDS[self.how](table, valid, self.k).masked_fill(~valid.all(-1), 0.0)
        parts = {str(i): s for i, s in enumerate(said)}
        return Scores(values, valid.all(-1), std=_std(table, valid), members=table, parts=parts, **_known_to_one(parts))


def _known_to_one(parts: Mapping[str, Scores]) -> dict[str, Any]:
    """What only one of the parts says of the samples, the whole says too: an answer, a judge's text, values of pieces."""
    found = {name: [x for s in parts.values() if (x := getattr(s, name)) is not None]
             for name in ("answer", "text", "parsed", "spans", "steps", "regions")}  # fmt: skip
    return {name: xs[0] for name, xs in found.items() if len(xs) == 1}


Fold = Callable[[Float[Tensor, "n m"], Bool[Tensor, "n m"], float], Float[Tensor, "n"]]


def _mean(x: Tensor, valid: Tensor, k: float = 0.0) -> Tensor:
    return x.masked_fill(~valid, 0.0).sum(-1) / valid.sum(-1).clamp(min=1)


def _std(x: Tensor, valid: Tensor) -> Tensor:
    """Population standard deviation over the valid members; its root is smooth at 0, so it has a gradient there."""
    spread = (x - _mean(x, valid)[:, None]).square()
    variance = _mean(spread, valid)
    return torch.where(variance > 0, variance.clamp(min=1e-12).sqrt(), 0.0)


def _median(x: Tensor, valid: Tensor, k: float = 0.0) -> Tensor:
    """The middle value, or the mean of the two in the middle."""
    return x.masked_fill(~valid, float("nan")).nanquantile(0.5, dim=-1)


_FOLDS: dict[str, Fold] = {
    "mean": _mean,
    "median": _median,
    "min": lambda x, valid, k: x.masked_fill(~valid, float("inf")).amin(-1),
    "product": lambda x, valid, k: x.masked_fill(~valid, 1.0).prod(-1),
    "mean-std": lambda x, valid, k: _mean(x, valid) - k * _std(x, valid),
}
