"""Can this reward be trusted? All of its tests on one set of comparisons."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from accord.errors import FeedbackError
from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.agreement import Agreement, agreements
from accord.evaluation.trust.bias import Effect, by_length, effects
from accord.evaluation.trust.calibration import Calibration, calibration
from accord.evaluation.trust.consistency import Contrast, Order, contrast, order, paraphrased
from accord.evaluation.trust.faults import LEAST, Fault, faults
from accord.evaluation.trust.intervals import Array, Bootstrap, right
from accord.evaluation.trust.noise import Noise, noise
from accord.evaluation.trust.optimisation import Optimisation, optimisation, pools
from accord.evaluation.trust.referee import Compares, Referee, Tick, chosen_first, fingerprint_of
from accord.feedback import Comparison, prompt_key
from accord.rewards import Reward


@dataclass(frozen=True)
class Trust:
    """What was measured of a reward.

    Attributes:
        data: fingerprint of the pairs. left: pairs to which it does not apply. accuracy: share ranked rightly, each pair shown in
            an order drawn by its content. mean_lead: the unit of gains.
        by: accuracy by column ("annotator" is who judged), then value. lengths: where the better is longer, and shorter.
        leads: of each pair. pairs: those measured.
    """

    reward: str
    data: str
    left: int
    accuracy: Estimate
    mean_lead: float
    by: dict[str, dict[str, Estimate]]
    lengths: dict[str, Estimate]
    calibration: Calibration
    noise: Noise
    order: Order | None
    paraphrased: dict[str, Estimate]
    contrast: Contrast | None
    effects: list[Effect]
    optimisation: Optimisation | None
    agreements: list[Agreement]
    leads: dict[str, Float[Array, "n"]] = field(repr=False)
    pairs: list[Comparison] = field(repr=False)

    @cached_property
    def faults(self) -> list[Fault]:
        """What is surely wrong, by name and size; none for a clean reward."""
        return faults(self)

    @property
    def without_faults(self) -> str:
        """What is to be said where no fault is named."""
        return "none found" if self.accuracy.n >= LEAST else f"too few pairs to find any ({LEAST} at least)"

    def row(self) -> dict[str, Any]:
        """All of it but the pairs, as JSON can say it."""
        maybe = {"order": self.order, "contrast": self.contrast, "optimisation": self.optimisation}
        return {
            "reward": self.reward, "data": self.data, "left": self.left, "accuracy": self.accuracy.row(), "mean_lead": self.mean_lead,
            "faults": [f.row() for f in self.faults],
            "by": {c: {v: e.row() for v, e in t.items()} for c, t in self.by.items()},
            "lengths": {n: e.row() for n, e in self.lengths.items()},
            "calibration": self.calibration.row(), "noise": self.noise.row(),
            "paraphrased": {n: e.row() for n, e in self.paraphrased.items()}, "effects": [e.row() for e in self.effects],
            **{k: None if v is None else v.row() for k, v in maybe.items()}, "agreements": [a.row() for a in self.agreements],
        }  # fmt: skip


def evaluate(reward: Reward | Compares, pairs: Sequence[Comparison], records: Sequence[Any] = (), *, others: Mapping[str, Any] | None = None,
          by: Sequence[str] = ("subset", "annotator"), clusters: Sequence[Any] | None = None, probes: int = 200, name: str | None = None,
          batch_size: int = 16, tick: Tick = lambda n: None) -> Trust:  # fmt: skip
    """Test a reward on comparisons that it hasn't seen.

    Args:
        reward: any callable reward, or a judge of pairs. others: further rewards by name, to compare it with.
        records: rankings and ratings, for best-of-n; comparisons that meet serve as well.
        by: columns whose values are told apart, where there are any; "annotator" is who judged.
        clusters: of each pair what makes it dependent on others; its prompt without.
        probes: so many pairs, evenly spread, are asked about again: in the other order, rewritten, with ploys. 0 leaves that out.
        batch_size: pairs at once. tick: told how many pairs were done.

    Raises:
        FeedbackError: there are no pairs, or the reward applies to none.
    """
    referee = Referee(reward, batch_size=batch_size, tick=tick)
    referee.name = name or referee.name
    there = referee.shown(pairs).numpy()
    known: list[int] = np.flatnonzero(np.isfinite(there)).tolist()
    if not known:
        raise FeedbackError(f"{referee.name} applies to none of {len(pairs)} comparisons: give it others")
    left = len(pairs) - len(known)
    pairs, there = [pairs[i] for i in known], there[known]
    keys = [prompt_key(p.prompt) for p in pairs] if clusters is None else [clusters[i] for i in known]
    rows = (
        np.unique(np.linspace(0, len(pairs) - 1, min(probes, len(pairs))).astype(int)) if probes else np.zeros(0, int)
    )
    probed = [pairs[i] for i in rows]
    swapped = referee.shown(probed, swapped=True).numpy()
    referee.both = bool(len(rows)) and not np.allclose(
        swapped, there[rows], rtol=1e-3, atol=1e-3 * np.abs(there).mean()
    )
    leads = (there + referee.shown(pairs, swapped=True).numpy()) / 2 if referee.both else there
    size = float(np.abs(leads).mean()) or 1.0
    all_leads = {referee.name: leads} | {n: np.nan_to_num(Referee(r, batch_size=batch_size, tick=tick)(pairs).numpy())
                                         for n, r in (others or {}).items()}  # fmt: skip
    return Trust(
        referee.name, fingerprint_of(pairs), left, Bootstrap(keys, draws=2000).mean(right(leads)), size,
        by_columns(pairs, leads, keys, by), by_length(pairs, leads, keys), calibration(leads, keys), noise(leads, keys, pairs),
        order(probed, there[rows], swapped, np.array([chosen_first(p) for p in probed]), size) if probed else None,
        paraphrased(referee, probed, leads[rows]) if probed else {}, contrast(referee, pairs, probes) if probed else None,
        effects(referee, probed, leads[rows], size) if probed else [],
        None if isinstance(reward, Compares) else optimisation(reward, pools(records, pairs)),
        agreements(all_leads, keys), all_leads, pairs,
    )  # fmt: skip


def by_columns(pairs: Sequence[Comparison], leads: Float[Array, "n"], clusters: Sequence[Any], columns: Sequence[str]) -> dict[str, dict[str, Estimate]]:  # fmt: skip
    """Accuracy for each value of each column that the pairs have, the least first."""
    found: dict[str, dict[str, Estimate]] = {}
    for column in columns:
        rows: dict[str, list[int]] = defaultdict(list)
        for i, p in enumerate(pairs):
            value = p.annotator if column == "annotator" else p.columns.get(column)
            if value is not None:
                rows[str(value)].append(i)
        if rows:
            told = {v: Bootstrap([clusters[i] for i in r]).mean(right(leads[r])) for v, r in rows.items()}
            found[column] = dict(sorted(told.items(), key=lambda x: x[1].value))
    return found
