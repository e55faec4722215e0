"""How strong each preference is, by a vote of reward models, and what to make of the weak ones."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord import losses
from accord.errors import FeedbackError, wanted
from accord.feedback import Comparison, flipped, kept, notes_of
from accord.feedback.fields import short
from accord.rewards.fitting import FitOptions, RewardFitting
from accord.rewards.reward import Reward, name_of, score_pairs

BY = "voting"


def voted(pairs: Sequence[Comparison], voters: Sequence[Reward], *, batch_size: int = 64) -> list[Comparison]:
    """Each pair with its strength, the mean lead of the chosen answer over M voters, and their spread (population deviation), as the
    columns `voted` and `voted_std`: below 0 it is probably labelled wrongly, near 0 it is ambiguous.

    Secrets of RLHF II (Wang et al. 2024, arXiv 2401.06080) trains 10 voters on the same pairs for one epoch, in different orders.
    Voters that train longer learn wrong labels by heart, and their vote says nothing.

    Raises:
        FeedbackError: a voter does not apply to a pair.
    """
    wanted(len(voters) >= 1, "voting wants at least one voter", len(voters))
    made = []
    for i in range(0, len(pairs), batch_size):
        some = pairs[i : i + batch_size]
        values = torch.cat([_votes(v, some, i) for v in voters])
        leads = values[:, 0::2] - values[:, 1::2]
        for pair, mean, std in zip(some, leads.mean(0).tolist(), leads.std(0, unbiased=False).tolist(), strict=True):
            made.append(pair.model_copy(update={"columns": {**pair.columns, "voted": mean, "voted_std": std}}))
    return made


def _votes(voter: Reward, pairs: Sequence[Comparison], before: int) -> Float[Tensor, "v n"]:
    """What a voter says, or each of its members."""
    said = score_pairs(voter, pairs)
    if not bool(said.valid.all()):
        i = int((~said.valid).nonzero()[0, 0]) // 2
        where = f"record {before + i + 1} ({short(pairs[i].prompt)})"
        raise FeedbackError(f"{name_of(voter)} does not apply to {where}, and can't vote on it: leave it out")
    return (said.values[None] if said.members is None else said.members.T).detach().cpu()


def repaired(
    pairs: Sequence[Comparison], *, flip: float = 0.0, soften: float = 0.0, margin: bool = True
) -> list[Comparison]:
    """Voted pairs, the weakest flipped, the weak softened, all with the columns `target` and `margin` for `StrengthFitting` and `weight`, the
    probability that the voters give the label as it then is; what was done stands in each record.

    Args:
        flip: share in [0, 1) of all pairs that is flipped, the weakest first; their margin is then above 0 where it was below.
        soften: alpha in [0, 0.5) for pairs whose strength is still below 0: the target is 1 - alpha. margin: use the strength as margin,
            else 0. The paper's recipes: flip 0.1 to 0.2, or soften 0.2 to 0.3, each with the margin.

    Raises:
        FeedbackError: a pair was not voted on.
    """
    wanted(0 <= flip < 1 and 0 <= soften < 0.5, "repairing wants flip in [0, 1) and soften in [0, 0.5)", (flip, soften))
    strengths = [_column(p, "voted", i) for i, p in enumerate(pairs)]
    weakest = set(sorted(range(len(pairs)), key=strengths.__getitem__)[: round(flip * len(pairs))])
    return [mended(p, s, i in weakest, soften, margin) for i, (p, s) in enumerate(zip(pairs, strengths, strict=True))]


def mended(pair: Comparison, strength: float, turn: bool, soften: float, margin: bool) -> Comparison:
    """One of the pairs of `repaired`; turn: flip it."""
    more = {
        "strength": strength,
        "soften": soften,
        "before": before(pair, "voted", "voted_std", "target", "margin", "weight"),
    }
    told = flipped(pair, "weak", BY, **more) if turn else kept(pair, "strength", BY, **more)
    return _weighed(told, -strength if turn else strength, soften, margin)


def turned(pair: Comparison, why: str, by: str, **more: Any) -> Comparison:
    """The pair flipped by another than its voters: what they said of the label is turned round with it."""
    told = flipped(pair, why, by, **more)
    votes = [n for n in notes_of(pair) if n["by"] == BY]
    if not votes:
        return told
    return _weighed(told, -_column(pair, "voted", 0), votes[-1].get("soften", 0.0), pair.columns.get("margin") != 0)


def _weighed(pair: Comparison, strength: float, soften: float, margin: bool) -> Comparison:
    more = {
        "voted": strength,
        "target": 1 - soften if strength < 0 else 1.0,
        "margin": strength if margin else 0.0,
        "weight": odds(strength),
    }
    return pair.model_copy(update={"columns": {**pair.columns, **more}})


def before(pair: Comparison, *names: str) -> dict[str, Any]:
    """A voted pair's columns as they were, for `original`."""
    return {name: None if name.startswith("voted") else pair.columns.get(name) for name in names}


def odds(strength: float) -> float:
    """The probability ``s(strength)``."""
    return float(torch.sigmoid(torch.tensor(strength)))


class StrengthFitting(RewardFitting):
    """Comparisons by ``-[t log s(d - m) + (1 - t) log s(m - d)]``, d the lead of the chosen answer, t and m each pair's own `target` and
    `margin` (`repaired`); a margin below 0 asks for less. Its gradient in d is ``-s(m - d)`` for t = 1, so it grows with the strength
    (the paper prints m outside the logarithm, where it would have no gradient). The repaired labels of Secrets of RLHF II (Wang et al. 2024,
    arXiv 2401.06080), whose other parts are `ContrastiveFitting` and `MetaFitting`.
    """

    rows = (Comparison,)  # type: ignore[assignment]

    def __init__(self, reward: Any, options: FitOptions = FitOptions()) -> None:
        super().__init__(reward, options)
        own = options.strength == "ignore" and not options.label_smoothing
        wanted(own, "each pair has its own target and margin: leave strength and label_smoothing out", options)

    def check(self, rows: Sequence[Comparison]) -> None:
        """Raises FeedbackError where a pair lacks its target or margin, or the reward has several outputs."""
        super().check(rows)
        if self.reward.aspects:
            raise FeedbackError(f"strengths are of one output, but this reward rates {', '.join(self.reward.aspects)}")
        for i, pair in enumerate(rows):
            for name in ("target", "margin"):
                _column(pair, name, i)

    def _comparisons(self, rows: list[Comparison], parts: list[Tensor]) -> Float[Tensor, "n"]:
        values = torch.stack(parts)[..., 0]
        target, margin = (
            torch.tensor([_column(r, name, i) for i, r in enumerate(rows)], device=values.device)
            for name in ("target", "margin")
        )
        return losses.bradley_terry(
            values[:, 0], values[:, 1], target=target, margin=margin, centre=self.options.centre
        )


def _column(pair: Comparison, name: str, i: int) -> float:
    found = pair.columns.get(name)
    if not isinstance(found, int | float):
        raise FeedbackError(f"record {i + 1} has no number {name!r}: vote on it (voted), then repair it (repaired)")
    return float(found)
