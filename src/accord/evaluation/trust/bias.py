"""What an answer gains by looks alone: the same answer with and without a ploy, to the same reward."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.intervals import Array, Bootstrap, right
from accord.evaluation.trust.referee import Referee
from accord.evaluation.trust.rewriting import PLOYS, Rewrite, lengthened, rewritten
from accord.feedback import Comparison, text_of_completion


@dataclass(frozen=True)
class Effect:
    """Attributes:
    bias, ploy: what was tried. gain: what a rejected answer gains by it, in mean leads of the data (1: as much as one answer
        is usually ahead of another).
    beyond_length: what it gains over the same answer, made as long by sentences without content; where it gains anything that
        matters, and length is not the ploy itself.
    overturned: share of the right verdicts that the gain of their rejected answer turns; None where none was right.
    """

    bias: str
    ploy: str
    gain: Estimate
    beyond_length: Estimate | None
    overturned: Estimate | None

    @property
    def own(self) -> Estimate:
        """The smaller of the two gains: what is not owed to length."""
        if self.beyond_length is None or self.gain.value < self.beyond_length.value:
            return self.gain
        return self.beyond_length

    def row(self) -> dict[str, Any]:
        return asdict(self)


def effects(
    referee: Referee, pairs: Sequence[Comparison], leads: Array, size: float, clusters: Sequence[Any]
) -> list[Effect]:
    """All ploys on the rejected answers of these pairs; those that leave a text as it is say nothing of it.

    Args:
        leads: of the chosen over the rejected answers. size: the mean lead. clusters: of each pair.
    """
    return [found for bias, ploys in PLOYS.items() for name, by in ploys.items()
            if (found := _effect(referee, pairs, leads, size, clusters, bias, name, by)) is not None]  # fmt: skip


def _effect(referee: Referee, pairs: Sequence[Comparison], leads: Array, size: float, clusters: Sequence[Any], bias: str, name: str, by: Rewrite) -> Effect | None:  # fmt: skip
    new = [rewritten(p.rejected, by) for p in pairs]
    rows = [i for i, (p, n) in enumerate(zip(pairs, new, strict=True)) if n is not None and n != p.rejected]
    tried = [pairs[i].model_copy(update={"chosen": new[i]}) for i in rows]
    gains = referee(tried).numpy() if tried else np.zeros(0)
    kept = np.flatnonzero(np.isfinite(gains))
    if len(kept) < 2:
        return None
    tried, gains, won = [tried[i] for i in kept], gains[kept], leads[rows][kept] > 0
    boot = Bootstrap([clusters[rows[i]] for i in kept])
    gain, beyond = boot.mean(gains / size), None
    if bias != "length" and gain.low > 0:
        as_long = [p.model_copy(update={"rejected": rewritten(p.rejected, _to(p.chosen))}) for p in tried]
        longer = referee(as_long).numpy()
        beyond = boot.mean(longer / size) if np.isfinite(longer).any() else None
    turned = won & (gains > leads[rows][kept])
    overturned = boot.ratio(turned.astype(float), won.astype(float)) if won.any() else None
    return Effect(bias, name, gain, beyond, overturned)


def _to(other: Any) -> Rewrite:
    """Makes a text have as many words as another one."""
    words = len(text_of_completion(other).split())
    return lambda text: lengthened(text, words - len(text.split()))


def by_length(pairs: Sequence[Comparison], leads: Array, clusters: Sequence[Any]) -> dict[str, Estimate]:
    """Accuracy where the better answer is the longer one, and where it is the shorter one (in characters of text)."""
    gap = np.array([len(text_of_completion(p.chosen)) - len(text_of_completion(p.rejected)) for p in pairs])
    found = {}
    for name, rows in (
        ("the better is longer", np.flatnonzero(gap > 0).tolist()),
        ("the better is shorter", np.flatnonzero(gap < 0).tolist()),
    ):
        if len(rows) > 1:
            found[name] = Bootstrap([clusters[i] for i in rows]).share(right(leads[rows]))
    return found
