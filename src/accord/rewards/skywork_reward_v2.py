"""Curation in two stages: a few labels that people checked steer where a judge labels next, then two reward models sift the rest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import FeedbackError, wanted
from accord.feedback import Comparison, dropped, flipped, instructed, kept, text_of, text_of_completion
from accord.feedback.cleaning import key_of
from accord.feedback.fields import short
from accord.rewards.curators import leads_of
from accord.rewards.reward import Reward, name_of, score
from accord.rewards.secrets_rlhf_rm import turned

MOST = 8
"""Neighbours that are fetched for an error, and examples that a judge is shown."""
CELLS = 2**24
"""Cosines in memory at once."""

Judge = Callable[[Sequence[Comparison], Sequence[Sequence[Comparison]]], Sequence[bool | None]]
"""Of each pair, with checked pairs like it: whether its label is right; None where that can't be told."""
Train = Callable[[Sequence[Comparison], int], Reward]
"""Makes a reward of comparisons, in the round of this number."""
Embed = Callable[[Sequence[Comparison]], Float[Tensor, "n d"]]
"""Where pairs lie: near each other where their prompts and attributes are alike."""


def neighbours_to_fetch(confidence: float, most: int = MOST) -> int:
    """``most`` where the recorded label of a checked pair is denied (p <= 1/2), else ``ceil(most (1 - p))``: none of a pair that is beyond doubt. It takes a reward
    whose p is a probability: one that is too sure of itself looks for next to nothing, and is calibrated first."""
    return most if confidence <= 0.5 else math.ceil(most * (1 - confidence))


@dataclass(frozen=True)
class Steered:
    """What the first stage comes to.

    Attributes:
        labelled: pairs that the judge looked at, each with a note: kept, flipped, dropped. reward: the best by accuracy on the checked pairs.
        accuracy: of every round's reward on them. left: what was never fetched, and what people had checked already.
    """

    labelled: list[Comparison]
    reward: Reward
    accuracy: list[float]
    left: list[Comparison]


def steered(checked: Sequence[Comparison], silver: Sequence[Comparison], pool: Sequence[Comparison], *, train: Train, judge: Judge, embed: Embed,
            rounds: int = 8, most: int = MOST, examples: int = MOST) -> Steered:  # fmt: skip
    """Stage 1 of Skywork-Reward-V2 (Liu et al. 2025, arXiv 2507.01352): train on what is labelled, look where the reward errs on pairs that people checked, fetch
    the unlabelled pairs nearest to those errors, have a judge label them, who is shown the checked pairs nearest to each; and again.

    Checked pairs are never trained on, whichever way round they lie in the pool. A label that the judge contradicts is flipped, one of which it can't tell is dropped.

    Args:
        checked: by people; they steer and choose. silver: labelled already, to begin with. pool: unlabelled, or labelled by nobody to be trusted.
        most: neighbours of an error at most. examples: shown to the judge with each pair.
    """
    wanted(
        rounds >= 1 and most >= 1 and examples >= 0,
        "stage 1 wants rounds and neighbours of at least 1",
        (rounds, most, examples),
    )
    if not checked or not silver:
        raise FeedbackError("stage 1 begins with some checked pairs and some labelled ones, but one of them is empty")
    told = {key_of(p) for pair in checked for p in (pair, pair.flipped())}
    labelled, left = ([p for p in some if key_of(p) not in told] for some in (silver, pool))
    known = [p for p in (*silver, *pool) if key_of(p) in told]
    if not labelled:
        raise FeedbackError("all labelled pairs that stage 1 begins with are checked ones, on which nothing is trained")
    near, table = embed(checked), embed(left) if left else torch.zeros(0, 1)
    best: tuple[float, Reward] | None = None
    course = []
    for number in range(rounds):
        reward = train([p for p in labelled if p.provenance.status != "dropped"], number)
        sure = confidences(reward, checked)
        course.append(float((sure > 0.5).float().mean()))
        if best is None or course[-1] > best[0]:
            best = (course[-1], reward)
        took = fetched(near, sure.tolist(), table, most) if number + 1 < rounds else []
        if not took:
            break
        shown = nearest(table[took], near, examples)
        some = [left[i] for i in took]
        said = judge(some, [[checked[j] for j in js] for js in shown])
        labelled += [_labelled(p, verdict, number) for p, verdict in zip(some, said, strict=True)]
        rest = sorted(set(range(len(left))) - set(took))
        left, table = [left[i] for i in rest], table[rest]
    assert best is not None
    return Steered(labelled, best[1], course, [*left, *known])


def _labelled(pair: Comparison, right: bool | None, number: int) -> Comparison:
    if right is None:
        return dropped(pair, "undecided", "judge", round=number)
    return (
        kept(pair, "confirmed", "judge", round=number)
        if right
        else flipped(pair, "contradicted", "judge", round=number)
    )


def confidences(reward: Reward, pairs: Sequence[Comparison]) -> Float[Tensor, "n"]:
    """p = s(r(chosen) - r(rejected)) of the recorded label, so that an error is p <= 1/2."""
    leads = leads_of(reward, pairs)
    if None in leads:
        first = short(pairs[leads.index(None)].prompt)
        raise FeedbackError(
            f"a reward that sifts must apply to every pair, but {name_of(reward)} has no value for that of {first}"
        )
    return torch.sigmoid(torch.tensor(leads, dtype=torch.float64)).float()


def fetched(
    errors: Float[Tensor, "m d"], sure: Sequence[float], table: Float[Tensor, "n d"], most: int = MOST
) -> list[int]:
    """Which rows of the table are nearest to each checked pair, so many as its confidence calls for; each row once, the worst errors first."""
    if not len(table):
        return []
    normed = torch.nn.functional.normalize
    order, units = torch.tensor(sure).argsort(stable=True), normed(table, dim=-1)
    taken: list[int] = []
    for block in order.split(max(1, CELLS // len(table))):
        for i, cosines in zip(block.tolist(), normed(errors[block], dim=-1) @ units.T, strict=True):
            cosines[taken] = -math.inf
            free = len(table) - len(taken)
            taken += cosines.topk(min(neighbours_to_fetch(sure[i], most), free)).indices.tolist()
    return taken


def nearest(rows: Float[Tensor, "m d"], table: Float[Tensor, "n d"], k: int) -> list[list[int]]:
    """The k rows of a table nearest to each by cosine, the nearest first."""
    cosines = torch.nn.functional.normalize(rows, dim=-1) @ torch.nn.functional.normalize(table, dim=-1).T
    return cosines.topk(min(k, len(table)), dim=-1).indices.tolist()


class DualAgreement:
    """Stage 2: a label stays where the reward of checked pairs agrees with it *and* the best one of stage 1, or the judge, does too; where both rewards
    deny it, it is flipped, or dropped if nothing is to be recycled; the rest, ties too, is dropped (Liu et al. 2025, arXiv 2507.01352). A `Curator`.

    Args:
        gold: trained on checked pairs alone. best: of `steered`. judge: asked where the best one denies a label; none leaves it to the two rewards.
        recycle: flip what both deny. checked, embed, examples: what the judge is shown of, and by which nearness.
    """

    BY = "dual agreement"

    def __init__(self, gold: Reward, best: Reward, judge: Judge | None = None, *, recycle: bool = True, checked: Sequence[Comparison] = (),
                 embed: Embed | None = None, examples: int = MOST) -> None:  # fmt: skip
        self.gold, self.best, self.judge, self.recycle = gold, best, judge, recycle
        self.checked, self.embed, self.examples = list(checked), embed, examples

    def __call__(self, part: Sequence[Comparison]) -> list[list[Comparison]]:
        if not part:
            return []
        gold, best = (confidences(r, part).tolist() for r in (self.gold, self.best))
        asked = [i for i in range(len(part)) if gold[i] > 0.5 >= best[i]]
        judged = dict(zip(asked, self._asked([part[i] for i in asked]), strict=True))
        return [[self._decided(p, gold[i], best[i], judged.get(i))] for i, p in enumerate(part)]

    @cached_property
    def _near(self) -> Float[Tensor, "n d"]:
        assert self.embed is not None
        return self.embed(self.checked)

    def _asked(self, pairs: list[Comparison]) -> Sequence[bool | None]:
        if self.judge is None or not pairs:
            return [None] * len(pairs)
        if self.embed is None or not self.checked:
            return self.judge(pairs, [[] for _ in pairs])
        shown = nearest(self.embed(pairs), self._near, self.examples)
        return self.judge(pairs, [[self.checked[j] for j in js] for js in shown])

    def _decided(self, pair: Comparison, gold: float, best: float, judged: bool | None) -> Comparison:
        more: dict[str, Any] = {"gold": gold, "best": best, "judge": judged}
        if gold > 0.5 and (best > 0.5 or judged):
            return kept(pair, "both agree" if best > 0.5 else "the judge agrees", self.BY, **more)
        if max(gold, best) < 0.5 and self.recycle:
            return turned(pair, "both deny", self.BY, **more)
        why = "no agreement" if max(gold, best) > 0.5 else "both deny" if max(gold, best) < 0.5 else "undecided"
        return dropped(pair, why, self.BY, **more)


EXAMPLE = """Request:
{prompt}

Better answer:
{chosen}

Worse answer:
{rejected}"""


def by_comparing(judge: Reward) -> Judge:
    """A judge of pairs, such as `PairJudge`, who is shown examples as an instruction before the request, and asked in both orders: the order in which answers
    stand changes nothing.

    Args:
        judge: a reward with a column `anchor`: the chance in [0, 1] to beat it.
    """

    def judged(pairs: Sequence[Comparison], shown: Sequence[Sequence[Comparison]]) -> list[bool | None]:
        prompts = [
            instructed(p.prompt, _told(some)) if some else p.prompt for p, some in zip(pairs, shown, strict=True)
        ]
        said = score(judge, prompts=prompts, completions=[p.chosen for p in pairs], anchor=[p.rejected for p in pairs])
        return [
            None if not ok or v == 0.5 else v > 0.5
            for v, ok in zip(said.values.tolist(), said.valid.tolist(), strict=True)
        ]

    return judged


def by_leading(reward: Reward, sure: float = 0.0) -> Judge:
    """A judge who is any reward: a label is right where its answer leads by more than `sure`, wrong where the other one does. It reads no examples."""

    def judged(pairs: Sequence[Comparison], shown: Sequence[Sequence[Comparison]]) -> list[bool | None]:
        return [None if lead is None or abs(lead) <= sure else lead > 0 for lead in leads_of(reward, pairs)]

    return judged


def _told(pairs: Sequence[Comparison]) -> str:
    shown = [
        EXAMPLE.format(
            prompt=text_of(p.prompt), chosen=text_of_completion(p.chosen), rejected=text_of_completion(p.rejected)
        )
        for p in pairs
    ]
    return "\n\n".join(["Other requests, of which people checked which answer is better:", *shown])
