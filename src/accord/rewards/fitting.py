"""Training a reward on feedback, whatever its backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord import losses
from accord.engine import Learner, Loss, Mean, Rows, Run, Training, fit
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Feedback, Ranking, Rating
from accord.policies.base import Group
from accord.policies.trunk import Trunk


@dataclass(frozen=True)
class FitOptions:
    """How feedback becomes a loss.

    Attributes:
        strength: what a comparison's strength means: nothing, a margin, a weight of the pair, or a slope.
        label_smoothing: share of labels in [0, 0.5) taken to be wrong.
        centre: weight of ``(r_c + r_r)^2``, which pins a pair's mean at 0 (ensembles want it, about 0.01).
    """

    strength: Literal["ignore", "margin", "weight", "scale"] = "ignore"
    label_smoothing: float = 0.0
    centre: float = 0.0

    def __post_init__(self) -> None:
        if self.strength not in ("ignore", "margin", "weight", "scale"):
            raise ConfigError(f"strength={self.strength!r} is not one of ignore, margin, weight, scale")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing must lie in [0, 0.5), but is {self.label_smoothing}")
        if not self.centre >= 0:
            raise ConfigError(f"centre must be at least 0, but is {self.centre}")


class Backbone(Protocol):
    """A trainable reward: values of every completion of some groups, one column for each aspect."""

    aspects: tuple[str, ...]

    def values_of(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]: ...


class RewardFitting(Learner):
    """Comparisons by Bradley-Terry, rankings by Plackett-Luce, ratings by regression, side by side in one batch."""

    def __init__(self, reward: Any, options: FitOptions = FitOptions()) -> None:
        super().__init__()
        self.reward = reward
        self.options = options

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"reward": self.reward}

    rows = (Comparison, Ranking, Rating)

    def check(self, rows: Sequence[Any]) -> None:
        """Refuse rows that the reward can't learn from together, or that its model can't take; see `Trunk.check`."""
        names = sorted({a for r in rows if isinstance(r, Rating) for a in r.aspects})
        if len(names) > 1 and not self.reward.aspects:
            raise FeedbackError(f"ratings of several aspects ({', '.join(names)}) for a reward with one output: "
                                "name its outputs (aspects=…), or keep one aspect")  # fmt: skip
        if isinstance(self.reward, Trunk):
            self.reward.check([Group(r.prompt, _completions(r)) for r in rows])

    def forward(self, rows: Rows) -> Loss:
        groups = [Group(r.prompt, _completions(r)) for r in rows]
        values = self.reward.values_of(groups)
        parts = values.split([len(g.completions) for g in groups])
        total = values.new_zeros(())
        right: list[Tensor] = []
        for kind, loss in ((Comparison, self._comparisons), (Ranking, self._rankings), (Rating, self._ratings)):
            chosen = [i for i, r in enumerate(rows) if isinstance(r, kind)]
            if chosen:
                total = total + loss([rows[i] for i in chosen], [parts[i] for i in chosen]).sum()
                if kind is not Rating:
                    right += [(parts[i][0] > parts[i][-1]).float().mean() for i in chosen]
        metrics = {"reward_mean": Mean.of(values)}
        if right:
            metrics["accuracy"] = Mean.of(torch.stack(right))
            gaps = torch.stack([(p[0] - p[-1]).mean() for p in parts if len(p) > 1])
            metrics["margin"] = Mean.of(gaps)
        return Loss(total, float(len(rows)), metrics)

    def _comparisons(self, rows: list[Comparison], parts: list[Tensor]) -> Float[Tensor, "n"]:
        pairs = torch.stack(parts)
        chosen, rejected = pairs[:, 0], pairs[:, 1]
        o, more = self.options, {}
        if o.strength != "ignore":
            if any(r.strength is None for r in rows):
                raise FeedbackError(f"strength={o.strength!r}, but some comparisons have no strength")
            more[o.strength] = pairs.new_tensor([r.strength for r in rows])
        target = 1 - o.label_smoothing
        if not self.reward.aspects:
            return losses.bradley_terry(chosen[:, 0], rejected[:, 0], target=target, centre=o.centre, **more)
        # With several outputs each aspect that was compared trains its own, flipped where the chosen one is worse.
        total = pairs.new_zeros(len(rows))
        for j, aspect in enumerate(self.reward.aspects):
            sign = pairs.new_tensor([r.aspects.get(aspect, 0.0) for r in rows]).sign()
            total = total + losses.pairwise(sign * (chosen[:, j] - rejected[:, j]), target, weight=sign.abs())
        return total

    def _rankings(self, rows: list[Ranking], parts: list[Tensor]) -> Float[Tensor, "n"]:
        scores = nn.utils.rnn.pad_sequence([p.mean(-1) for p in parts], batch_first=True)
        sizes = torch.tensor([len(p) for p in parts], device=scores.device)
        valid = torch.arange(scores.shape[1], device=scores.device)[None] < sizes[:, None]
        tied = torch.zeros_like(valid)
        for i, r in enumerate(rows):
            for j in range(1, len(r.scores or ())):
                tied[i, j] = r.scores[j] == r.scores[j - 1]  # type: ignore[index]
        return losses.plackett_luce(scores, valid, tied)

    def _ratings(self, rows: list[Rating], parts: list[Tensor]) -> Float[Tensor, "n"]:
        predicted = torch.cat(parts)
        names = self.reward.aspects or (next(iter(rows[0].aspects)),)
        known = [[n in r.aspects for n in names] for r in rows]
        if not all(map(any, known)):
            bad = rows[[any(k) for k in known].index(False)]
            raise FeedbackError(
                f"a rating has aspects {sorted(bad.aspects)}, none of which the model rates: {list(names)}"
            )
        wanted = predicted.new_tensor([[r.aspects.get(n, 0.0) for n in names] for r in rows])
        return losses.regression(predicted, wanted, torch.tensor(known, device=predicted.device))


def fit_reward(algorithm: RewardFitting, records: Sequence[Any], *, out: str | Path | None = None,
               training: Training | None = None, **options: Any) -> Run:  # fmt: skip
    """`fit` on the records that say something of a reward; raises FeedbackError if there are none."""
    usable = [r for r in (records.records if isinstance(records, Feedback) else records)
              if isinstance(r, Comparison | Ranking | Rating)]  # fmt: skip
    if not usable:
        raise FeedbackError("no comparisons, rankings or ratings to train a reward on")
    return fit(algorithm, usable, training, out=out, **options)


def _completions(record: Any) -> tuple[str, ...]:
    if isinstance(record, Comparison):
        return record.chosen, record.rejected
    return tuple(record.completions) if isinstance(record, Ranking) else (record.completion,)
