"""How many verdicts are wrong however clear the case is: labels told wrongly, or a reward that errs at random."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from accord.evaluation.accuracy import Estimate, accuracy
from accord.evaluation.trust.calibration import sigmoid
from accord.evaluation.trust.intervals import Array
from accord.evaluation.trust.referee import Referee
from accord.feedback import Comparison, picture_key, prompt_key
from accord.rewards import Reward

RATES = np.linspace(0, 0.49, 50)
SLOPES = np.geomspace(0.05, 500, 60)
DROP = 1.92
"""By so much may the log-likelihood fall short of its best within a 95 % interval."""


@dataclass(frozen=True)
class Noise:
    """Attributes:
    rate: share of verdicts that contradict the reward however large its lead: the e of ``P(right) = e + (1 - 2e) s(lead/T)``.
        Labels can be wrong, or the reward, or it doesn't see what people see.
    corrected: what the accuracy would be if all of it were the labels' fault; None where it is below a coin's.
    people: share of wrong labels by which people who judged the same pair disagree as often as they do; None where no two did.
    """

    rate: Estimate
    corrected: float | None
    people: float | None

    def row(self) -> dict[str, Any]:
        return asdict(self)


def noise(leads: Float[Array, "n"], clusters: Sequence[Hashable], pairs: Sequence[Comparison] = ()) -> Noise:
    """The rate of noise by maximum likelihood, with its profile interval; many pairs of one prompt count as fewer.

    A lead without any levels (all of one size) can't tell noise from a temperature: the interval then begins at 0.
    """
    share = len(set(clusters)) / len(leads)
    size = np.abs(leads).mean() or 1.0
    fits = np.array([[_likelihood(e, s, leads / size) for s in SLOPES] for e in RATES]).max(1)
    inside = RATES[share * (fits.max() - fits) <= DROP]
    rate = Estimate(
        float(RATES[fits.argmax()]), float(inside.min()), float(inside.max()), len(leads), len(set(clusters))
    )
    told = float((leads > 0).mean() + 0.5 * (leads == 0).mean())
    corrected = min(1.0, (told - rate.value) / (1 - 2 * rate.value)) if told >= 0.5 else None
    return Noise(rate, corrected, disagreement(pairs))


def disagreement(pairs: Sequence[Comparison], least: int = 20) -> float | None:
    """The e by which two people would contradict each other as often as they do: ``2 e (1 - e)`` of their pairs.

    Args:
        least: two verdicts on the same answers that there have to be.
    """
    seen: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for p in pairs:
        a, b = picture_key(p.chosen), picture_key(p.rejected)
        seen[prompt_key(p.prompt), frozenset((a, b))][a] += 1
    twos = [(sum(c.values()), sum(v * v for v in c.values())) for c in seen.values() if sum(c.values()) > 1]
    pairs_of_verdicts = sum(n * (n - 1) for n, _ in twos) / 2
    if pairs_of_verdicts < least:
        return None
    differ = sum(n * n - same for n, same in twos) / 2 / pairs_of_verdicts
    return 0.5 * (1 - max(0.0, 1 - 2 * differ) ** 0.5)


def under_noise(fit: Callable[[list[Comparison]], Reward], train: Sequence[Comparison], test: Sequence[Comparison],
                rates: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4), *, seed: int = 0) -> dict[float, Estimate]:  # fmt: skip
    """Accuracy on clean pairs of what is learned from labels of which a share was flipped: how robust a way to learn is.

    Args:
        fit: makes a reward of comparisons. rates: shares; the flips of a smaller one are among those of a larger one.
    """
    luck = [Random(f"flip:{seed}:{i}").random() for i in range(len(train))]
    found = {}
    for rate in rates:
        told = [p.flipped() if u < rate else p for p, u in zip(train, luck, strict=True)]
        found[rate] = accuracy(torch.nan_to_num(Referee(fit(told))(test)), [prompt_key(p.prompt) for p in test])
    return found


def _likelihood(rate: float, slope: float, x: Float[Array, "n"]) -> float:
    return float(np.log(np.maximum(rate + (1 - 2 * rate) * sigmoid(slope * x), 1e-12)).sum())
