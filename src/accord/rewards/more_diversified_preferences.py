"""Feedback from several sources that want different things: their shares are chosen at each step so that none is learned against another."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from accord.engine import Loss, Mean, Rows, Step, fit
from accord.errors import FeedbackError, ModelError, one_of
from accord.feedback import Comparison
from accord.losses.min_norm import min_norm
from accord.policies.base import Group
from accord.rewards.features import Features
from accord.rewards.fitting import FitOptions, RewardFitting
from accord.rewards.heads import HeadReward

SHARE = "share"
"""The column that holds a pair's weight in its batch."""


class MORE(RewardFitting):
    """``sum_i l_i L_i`` over the K sources of a batch, where l is `min_norm` of the gradients of the L_i in the last layer alone, which
    cost nothing beside a forward pass (MORE, Zeng et al. 2023, arXiv 2312.07401). Shares of 1/K are plain training on all of it.

    Shares are of a whole batch and carry no gradient. As published, those of *normalised* gradients weigh *raw* losses, so the step is
    not MGDA's own; `normalise="none"` weighs by the gradients as they are, which favours sources that are nearly learned.

    Args:
        reward: whose last layer reads one row for each answer: `HeadReward`, or `BradleyTerry` where its architecture packs.
        by: names the source of a pair: annotator, or a column. normalise: l2 or none.
    """

    rows = (Comparison,)  # type: ignore[assignment]

    def __init__(
        self, reward: Any, options: FitOptions = FitOptions(), *, by: str = "annotator", normalise: str = "l2"
    ) -> None:
        super().__init__(reward, options)
        one_of("normalise", normalise, "l2", "none")
        self.by, self.normalise = by, normalise

    @classmethod
    def fit(cls, records: Sequence[Comparison], features: Features, *, by: str = "annotator", normalise: str = "l2", hidden: int = 64,
            **training: Any) -> HeadReward:  # fmt: skip
        """Train a head on comparisons, all sources made as large as the largest; returns it."""
        seed = training.get("seed", 0)
        reward = HeadReward(features, hidden=hidden, seed=seed)
        fit(cls(reward, by=by, normalise=normalise), evened(records, by, seed=seed),
            **{"lr": 1e-3, "batch_size": 64, "epochs": 5, "progress": False, **training})  # fmt: skip
        return reward

    def check(self, rows: Sequence[Comparison]) -> None:
        super().check(rows)
        for row in rows:
            source_of(row, self.by)
        if last_layer(self.reward) is None:
            raise ModelError(
                f"{type(self.reward).__name__} shows no last layer with a row for each answer: MORE can't weigh its sources"
            )

    def experience(self, batch: Rows, step: Step) -> Rows:
        shares = dict(zip(*self.shares(batch), strict=True))
        rows = ((row, len(shares) * shares[source_of(row, self.by)]) for row in batch)
        return Rows(r.model_copy(update={"columns": {**r.columns, SHARE: weight}}) for r, weight in rows)

    def shares(self, rows: Sequence[Comparison]) -> tuple[list[str], list[float]]:
        """The sources of these pairs, and the share of each."""
        sources = sorted({source_of(r, self.by) for r in rows})
        gradients = torch.stack([g.flatten() for g in self.gradients(rows, sources)])
        return sources, min_norm(normalize(gradients, dim=-1) if self.normalise == "l2" else gradients).tolist()

    def gradients(self, rows: Sequence[Comparison], sources: Sequence[str]) -> list[Float[Tensor, "a d"]]:
        """Of each source's mean loss in the last layer's weights; nothing flows below them."""
        layer = last_layer(self.reward)
        assert layer is not None
        with torch.no_grad(), seen_by(layer) as seen:
            self.reward.values_of([Group(r.prompt, (r.chosen, r.rejected)) for r in rows])
        of = torch.tensor([[source_of(r, self.by) == s for r in rows] for s in sources], device=layer.weight.device)
        with torch.enable_grad():
            weight = layer.weight.detach().float().requires_grad_()
            loss = super()._comparisons(list(rows), list(linear(torch.cat(seen).float(), weight).split(2)))
            return [torch.autograd.grad(loss[mask].mean(), weight, retain_graph=True)[0] for mask in of]

    def _comparisons(self, rows: list[Comparison], parts: list[Tensor]) -> Float[Tensor, "n"]:
        loss = super()._comparisons(rows, parts)
        return loss * torch.tensor([float(r.columns[SHARE]) for r in rows], dtype=loss.dtype, device=loss.device)

    def forward(self, rows: Rows) -> Loss:
        loss = super().forward(rows)
        for row in rows:  # of a batch that is cut, each part tells its own
            name = f"weight/{source_of(row, self.by)}"
            loss.metrics[name] = loss.metrics.get(name, Mean(0.0, 0.0)) + Mean(float(row.columns[SHARE]), 1.0)
        return loss


def source_of(record: Comparison, by: str) -> str:
    """Raises FeedbackError where a pair does not say."""
    found = record.annotator if by == "annotator" else record.columns.get(by)
    if found is None:
        raise FeedbackError(
            f"a pair has no {by}, which names its source: it has {', '.join(sorted(record.columns)) or 'no columns'}"
        )
    return str(found)


def evened(records: Sequence[Comparison], by: str, *, seed: int = 0) -> list[Comparison]:
    """All records, and some of the smaller sources again, so that each source has as many as the largest."""
    most = max(Counter(source_of(r, by) for r in records).values(), default=0)
    parts: dict[str, list[Comparison]] = defaultdict(list)
    for r in records:
        parts[source_of(r, by)].append(r)
    made = []
    for name, part in parts.items():
        times, rest = divmod(most, len(part))
        made += part * times + Random(f"evened:{seed}:{name}").sample(part, rest)
    return made


def last_layer(reward: Any) -> nn.Linear | None:
    """The layer that gives a reward's values, where it reads one row for each answer."""
    found: Any
    if isinstance(reward, HeadReward):
        found = [m for m in reward.head.modules() if isinstance(m, nn.Linear)][-1]
    else:
        found = None if getattr(reward, "encodes", True) else getattr(reward.core, "score", None)
    return found if isinstance(found, nn.Linear) else None


@contextmanager
def seen_by(layer: nn.Linear) -> Iterator[list[Tensor]]:
    """What a layer reads meanwhile."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    try:
        yield seen
    finally:
        hook.remove()
