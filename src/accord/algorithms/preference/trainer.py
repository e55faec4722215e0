"""Preference optimisation on given completions: any loss of pairs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from jaxtyping import Float
from torch import Tensor

from accord import losses
from accord.algorithms.base import Given, PolicyAlgorithm
from accord.algorithms.preference.options import NOTHING, PerRow, check_rows_options, options_of_rows, try_loss
from accord.algorithms.reference import Reference, Which
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison
from accord.losses import LogProbs
from accord.policies.base import Group
from accord.policies.capabilities import Likelihood

PairLoss = Callable[..., Float[Tensor, "n"]]
"""A function of (chosen, rejected) `LogProbs`, and of its options by name."""


class Paired(TypedDict, total=False):
    """The options of `Preference` that all its methods share."""

    target: PerRow
    margin: PerRow
    weight: PerRow


class Compared(Paired, total=False):
    """And what the policy is compared with."""

    reference: Which | None


class Kept(Compared, total=False):
    """And where the reference's log-probs are kept, of an exact likelihood."""

    store: str | Path | None


class Preference(PolicyAlgorithm):
    """A loss of pairs, on comparisons.

    Args:
        loss: from `accord.losses` (itself or its name), or your own. options: of the loss.
        target: probability that the chosen one is the better. margin: by how much it should lead. weight: what the pair
            counts for. These, and all numbers among the loss's options, may be the name of the records' field or column
            that holds each one's own (`margin="strength"`, `weight="confidence"`).
        reference: what log-ratios compare with: "base", the policy as it begins; "now"; the folder of a saved one, or a
            policy; None for losses that need none.
        store: folder in which the reference's log-probs are kept for later runs on the same data and model; they
            are computed once in any case.
        by_step: whether the loss asks for log-probs of the reference by step.
        draw: where a likelihood that is not exact looks; see `PolicyAlgorithm`.
    """

    rows = (Comparison,)
    needs_reference: bool = True

    def __init__(self, policy: Likelihood, loss: PairLoss | str, options: Mapping[str, Any] = {}, by_step: bool = False,
                 draw: Any = None, *, target: PerRow = 1.0, margin: PerRow = 0.0, weight: PerRow = 1.0,
                 reference: Which | None = "base", store: str | Path | None = None) -> None:  # fmt: skip
        super().__init__(policy, draw)
        shared = {"target": (target, 1.0), "margin": (margin, 0.0), "weight": (weight, 1.0)}
        if isinstance(loss, str):
            named = getattr(losses, loss, None)
            if not callable(named):
                raise ConfigError(f"loss={loss!r} is none of accord.losses")
            loss = cast(PairLoss, named)
        self.loss = loss
        self.options = dict(options) | {k: given for k, (given, default) in shared.items() if given != default}
        try_loss(type(self).__name__, loss, NOTHING, NOTHING, **self.options)
        if type(self) is Preference:
            self.needs_reference = reference is not None
        self.reference = Reference.wanted(self, reference, store=store, by_step=by_step)

    def group(self, row: Comparison) -> Group:
        return Group(row.prompt, (row.chosen, row.rejected))

    def check(self, rows: Sequence[Any]) -> None:
        super().check(rows)
        check_rows_options(type(self).__name__, rows, self.loss, NOTHING, NOTHING, **self.options)

    def experience(self, batch: Rows, step: Step) -> Given:
        wrong = next((r for r in batch if not isinstance(r, Comparison)), None)
        if wrong is not None:
            raise FeedbackError(
                f"a preference loss wants comparisons (chosen and rejected), not a {type(wrong).__name__}"
            )
        own = options_of_rows(type(self).__name__, batch, self.options)
        return self.given(batch, [self.group(r) for r in batch], step, options=own)

    def forward(self, pairs: Given) -> Loss:
        chosen, rejected = self.pair(pairs)
        own = {k: v.to(chosen.policy.device) for k, v in pairs.options.items()}
        each = self.loss(chosen, rejected, **{**self.options, **own})
        return Loss(each.sum(), float(len(pairs)), _measures(chosen, rejected))

    def pair(self, pairs: Given) -> tuple[LogProbs, LogProbs]:
        """Log-probs of both sides; where a reference was computed, with it."""
        found = self.likelihood(pairs)
        return found[0::2], found[1::2]

    @torch.no_grad()
    def evaluate(self, comparisons: Sequence[Comparison],
                 batch_size: int = 8) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:  # fmt: skip
        """By how much the chosen answer leads: in implicit reward ``h_c - h_r``, and in log-prob for each token.

        Without a reference both are the latter.
        """
        found = []
        for i in range(0, len(comparisons), batch_size):
            rows = Rows(comparisons[i : i + batch_size])
            c, r = self.pair(self.given(rows, [self.group(row) for row in rows], Step(0, 0)))
            likelihood = (c.mean - r.mean).cpu()
            found.append(((c.ratio - r.ratio).cpu() if c.reference is not None else likelihood, likelihood))
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])


def _measures(c: LogProbs, r: LogProbs) -> dict[str, Mean]:
    led = c.ratio - r.ratio if c.reference is not None else c.mean - r.mean
    margin = led.detach()
    out = {"logp_chosen": Mean.of(c.mean), "logp_rejected": Mean.of(r.mean), "margin": Mean.of(margin),
           "accuracy": Mean.of((margin > 0).float())}  # fmt: skip
    return out if c.reference is None else {**out, "shift_chosen": Mean.of(c.ratio)}
