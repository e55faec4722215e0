"""Two reward models that review each other's data, so that neither learns from what it has fallen for itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from accord import losses
from accord.engine import Learner, Loss, Mean, Rows, Step, fit
from accord.engine.batch import Batch
from accord.engine.processes import gather
from accord.engine.seeds import generator
from accord.errors import FeedbackError, one_of, wanted
from accord.feedback import Comparison, dropped, kept
from accord.policies.base import Group
from accord.rewards.combine import Ensemble
from accord.rewards.fitting import RewardFitting

BY = "peer review"


@dataclass(frozen=True)
class Reviewed(Batch):
    """Comparisons of a step with their places: among all pairs, and among this process's of the step."""

    pairs: list[Comparison]
    at: Int[Tensor, "n"]
    row: Int[Tensor, "n"]


class CollaborativeRewardModeling(Learner):
    """On every batch each of two rewards picks the pairs with the greatest lead, a share of 1 - noise, and the *other* learns from them by
    ``-log s(lead)``; from the second pass on, pairs come in order of the lead that both gave them last, easy ones first (Zhang et al. 2025,
    arXiv 2505.10597; schedules are those of co-teaching).

    A pair that is not picked is not flipped: it teaches nothing this time. What is wrong by chance is found so, what is wrong by a rule that can be
    learned is not. Without noise and curriculum it is two plain trainings side by side. Train it by `collaborate`, or with `fit` on the same pairs.

    A batch is what all processes have in a step. Where it takes several forward passes, it is read once before them, without gradient, to pick from.

    Args:
        first, second: rewards that begin apart (another head, another seed): else they pick the same.
        pairs: all that there are.
        noise: share of labels in [0, 1) that is wrong. warm: passes in which the share that is left out grows from 0, at least 0: at first leads are chance.
        curriculum: easy first; else in random order. window: batches, at least 1, that are shuffled together: the last are nearly all wrong, and of each
            batch the same share is kept.
        review: peer, or self: each learns from its own choice, as a control.
    """

    rows = (Comparison,)

    def __init__(self, first: Any, second: Any, pairs: Sequence[Comparison], *, noise: float = 0.2, warm: float = 1.0, curriculum: bool = True,
                 window: int = 8, review: str = "peer") -> None:  # fmt: skip
        super().__init__()
        wanted(
            0 <= noise < 1 and warm >= 0 and window >= 1,
            "peer review wants noise in [0, 1), warm >= 0, window >= 1",
            (noise, warm, window),
        )
        one_of("review", review, "peer", "self")
        self.first, self.second, self.pairs = first, second, list(pairs)
        self.noise, self.warm, self.curriculum, self.window, self.review = noise, warm, curriculum, window, review
        self.leads, self.picked = torch.zeros(2, len(pairs)), torch.ones(2, len(pairs), dtype=torch.bool)
        self._met = torch.zeros(len(pairs), dtype=torch.bool)
        self._order, self._pass, self._share = torch.zeros(0, dtype=torch.long), -1, 1.0
        self._step, self._rank = Reviewed([], *torch.zeros(2, 0, dtype=torch.long)), 0
        self._picks: Bool[Tensor, "2 n"] | None = None

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    @property
    def both(self) -> Ensemble:
        """The mean of the two."""
        return Ensemble([self.first, self.second])

    def check(self, rows: Sequence[Comparison]) -> None:
        """Raises FeedbackError for other pairs than its own, a pair that a model can't take, or a reward with several outputs."""
        if list(rows) != self.pairs:
            raise FeedbackError(
                f"peer review learns from the {len(self.pairs)} pairs that it was made with: give fit just these, in their order"
            )
        for reward in (self.first, self.second):
            RewardFitting(reward).check(rows)
            if reward.aspects:
                raise FeedbackError(
                    f"peer review is of one output, but this reward rates {', '.join(reward.aspects)}: leave aspects out"
                )

    def experience(self, batch: Rows, step: Step) -> Reviewed:
        """As many pairs as the batch has, by the curriculum's order in the place of the loop's."""
        size, n = len(batch) * step.ranks, len(self.pairs)
        self._share = 1 - self.noise * (min(1.0, step.number * size / n / self.warm) if self.warm else 1.0)
        places = range(step.number * size, (step.number + 1) * size)
        # every rank meets every pass at the same step, so that all make its order of the same leads
        at = torch.stack([self._ordered(i // n, size, step.seed)[i % n] for i in places])[step.rank :: step.ranks]
        step.log("share", self._share)
        self._step, self._rank = Reviewed([self.pairs[i] for i in at.tolist()], at, torch.arange(len(at))), step.rank
        self._picks = None
        return self._step

    def _ordered(self, number: int, size: int, seed: int) -> Int[Tensor, "n"]:
        """The order of a pass, made when it begins."""
        if number != self._pass:
            random = torch.randperm(len(self.pairs), generator=generator(seed, number, purpose="order"))
            self._pass, self._order = number, random
            if self.curriculum and number:
                easy = self.leads.mean(0).argsort(descending=True, stable=True)
                places = torch.empty_like(random)
                places[random] = torch.arange(len(random))
                chunks = easy.split(self.window * size)
                self._order = torch.cat([c[places[c].argsort()] for c in chunks])
        return self._order

    def forward(self, reviewed: Reviewed) -> Loss:
        whole, size = self._step, len(reviewed)
        cut = size < len(whole)
        if cut and self._picks is None:
            with torch.no_grad():
                parts = [self._leads(whole.pairs[i : i + size]) for i in range(0, len(whole), size)]
            self._review(torch.cat(parts, 1))
        leads = self._leads(reviewed.pairs)
        if not cut:
            self._review(leads.detach())
        assert self._picks is not None
        picks = self._picks[:, reviewed.row.cpu()].to(leads.device)
        teachers = picks.flip(0) if self.review == "peer" else picks
        total = sum(
            (losses.pairwise(lead, weight=pick.float()).sum() for lead, pick in zip(leads, teachers, strict=True)),
            leads.new_zeros(()),
        )
        apart = (picks[0] != picks[1]).float()
        metrics = {"accuracy": Mean.of((leads[0] > 0).float()), "disagreement": Mean.of(apart)}
        return Loss(total, float(picks[0].sum()), metrics)

    def _review(self, leads: Float[Tensor, "2 n"]) -> None:
        """Note what each picks of the step's pairs on all processes, of which this one has these leads."""
        told = gather((self._step.at, leads.cpu()))
        at, said = torch.cat([a for a, _ in told]), torch.cat([x for _, x in told], 1)
        picks = torch.stack([picked(lead, self._share) for lead in said])
        self.leads[:, at], self.picked[:, at], self._met[at] = said, picks, True
        self._picks = picks.split(leads.shape[1], 1)[self._rank]

    def _leads(self, pairs: Sequence[Comparison]) -> Float[Tensor, "2 n"]:
        groups = [Group(p.prompt, (p.chosen, p.rejected)) for p in pairs]
        values = torch.stack([r.values_of(groups)[:, 0] for r in (self.first, self.second)])
        return values[:, 0::2] - values[:, 1::2]

    def reviewed(self) -> list[Comparison]:
        """All pairs with a note of the last review: dropped where neither picked it, kept where one or both did, or where no step came to it."""
        votes = torch.where(self._met, self.picked.sum(0), 3).tolist()
        return [_noted(p, v, lead) for p, v, lead in zip(self.pairs, votes, self.leads.mean(0).tolist(), strict=True)]

    def state(self) -> dict[str, Tensor]:
        order = {"order": self._order, "pass": torch.tensor(self._pass)}
        return {"leads": self.leads, "picked": self.picked, "met": self._met, **order}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.leads, self.picked, self._met = state["leads"], state["picked"].bool(), state["met"].bool()
        self._order, self._pass = state["order"], int(state["pass"])


def _noted(pair: Comparison, votes: int, lead: float) -> Comparison:
    why = ("picked by neither", "picked by one", "picked by both", "not reviewed")[votes]
    return (kept if votes else dropped)(pair, why, BY, **({"lead": lead} if votes < 3 else {}))


def picked(leads: Float[Tensor, "n"], share: float) -> Bool[Tensor, "n"]:
    """The ``ceil(share n)`` pairs that one trusts: those with the greatest lead, which are those of the least loss."""
    mask = torch.zeros_like(leads, dtype=torch.bool)
    mask[leads.topk(math.ceil(share * len(leads) - 1e-9)).indices] = True
    return mask


def collaborate(first: Any, second: Any, pairs: Sequence[Comparison], *, noise: float = 0.2, warm: float = 1.0, curriculum: bool = True,
                window: int = 8, **training: Any) -> CollaborativeRewardModeling:  # fmt: skip
    """Train two rewards on the same pairs by peer review; returns what trained them, with what became of each pair.

    Args:
        training: options of `Training` by name. Others as for `CollaborativeRewardModeling`.
    """
    learner = CollaborativeRewardModeling(
        first, second, pairs, noise=noise, warm=warm, curriculum=curriculum, window=window
    )
    fit(learner, learner.pairs, **{"lr": 1e-3, "batch_size": 64, "epochs": 3, "progress": False, **training})
    return learner
