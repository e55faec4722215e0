"""KTO: labels of single completions instead of pairs."""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from accord import losses
from accord.algorithms.base import Given, PolicyAlgorithm
from accord.algorithms.preference.options import NOTHING, PerRow, check_rows_options, options_of_rows, try_loss
from accord.algorithms.reference import Reference, Which
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import FeedbackError
from accord.feedback import Label
from accord.policies.base import Group
from accord.policies.capabilities import Likelihood


class KTO(PolicyAlgorithm):
    """``w (1 - s(+-beta (h - z)))``, + where the label is good: Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306).

    The KL z that it is centred on is estimated on mismatched pairs: each prompt with the next row's completion, beside its
    own in the same tree. It is a mean over one forward pass, as in the paper's code: a larger `micro_batch_size` makes it
    less noisy. The metric `accuracy` is the share of labels that ``h > z`` tells rightly (half, where they are the same).

    Args:
        beta: strength of the tie to the reference, > 0. desirable_weight, undesirable_weight: of good and bad ones, > 0.
        weight: what each record counts for beside that; the name of their column, or a number.
        reference: what h and z compare with; see `Preference`. store: folder that keeps its log-probs for later runs.
    """

    rows = (Label,)
    needs_reference = True

    def __init__(self, policy: Likelihood, *, beta: PerRow = 0.1, desirable_weight: PerRow = 1.0, undesirable_weight: PerRow = 1.0,
                 weight: PerRow = 1.0, reference: Which = "base", store: str | Path | None = None) -> None:  # fmt: skip
        super().__init__(policy)
        self.options: dict[str, Any] = {"beta": beta, "desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight,
                        "weight": weight}  # fmt: skip
        self._try = partial(losses.kto, NOTHING, torch.tensor([True]), torch.tensor(0.0))
        try_loss("KTO", self._try, **self.options)
        self.reference = Reference.wanted(self, reference, store=store)

    def group(self, row: Label) -> Group:
        return Group(row.prompt, (row.completion,))

    def check(self, rows: Sequence[Any]) -> None:
        super().check(rows)
        check_rows_options("KTO", rows, self._try, **self.options)

    def experience(self, batch: Rows, step: Step) -> Given:
        if any(not isinstance(r, Label) for r in batch) or len(batch) < 2:
            raise FeedbackError(
                "KTO wants labelled completions (prompt, completion, label), at least two in a batch, as among those held out"
            )
        others = [self._other(batch, i) for i in range(len(batch))]
        groups = [Group(r.prompt, (r.completion, o)) for r, o in zip(batch, others, strict=True)]
        return self.given(batch, groups, step, options=options_of_rows("KTO", batch, self.options))

    def _other(self, batch: Rows, i: int) -> Any:
        """The next row's completion that the model can take after this row's prompt; its own, if none is short enough."""
        ids = getattr(self.policy, "ids", lambda group: None)
        for j in range(1, len(batch)):
            other = batch[(i + j) % len(batch)].completion
            with contextlib.suppress(FeedbackError):
                ids(Group(batch[i].prompt, (other,)))
                return other
        return batch[i].completion

    def forward(self, rows: Given) -> Loss:
        found = self.likelihood(rows)
        own, other = found[0::2], found[1::2]
        good = torch.tensor([r.label for r in rows.rows], device=own.policy.device)
        kl = other.ratio.detach().mean()
        options = {**self.options, **{k: v.to(good.device) for k, v in rows.options.items()}}
        each = losses.kto(own, good, kl, **options)
        h, z = own.ratio.detach(), kl.clamp(min=0)
        told = torch.where(h == z, 0.5, ((h > z) == good).float())
        return Loss(each.sum(), float(len(rows)), {
            "kl": Mean.of(z[None]), "reward_good": Mean.of(h, good), "reward_bad": Mean.of(h, ~good), "accuracy": Mean.of(told),
        })  # fmt: skip
