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
from accord.evaluation.trust.faults import Fault, faults, undecided, untested
from accord.evaluation.trust.intervals import Array, Bootstrap, right
from accord.evaluation.trust.noise import Noise, noise
from accord.evaluation.trust.optimisation import Optimisation, optimisation, pools
from accord.evaluation.trust.referee import Compares, Referee, Tick, chosen_first, fingerprint_of
from accord.feedback import Comparison, prompt_key, text_of_completion
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
        return "none for sure" if self.undecided else "none found"

    @cached_property
    def undecided(self) -> list[str]:
        """Faults of which these pairs can't tell whether they are there, with how large they may be."""
        return undecided(self)

    def disputes(self, between: Agreement) -> list[dict[str, Any]]:
        """The pairs on which two rewards contradict each other most, to read, with the lead of the chosen answer by each."""
        return [{"prompt": prompt_key(p.prompt).replace("\x1f", ": ").replace("\x1e", "\n"), "chosen": _text(p.chosen), "rejected": _text(p.rejected),
                 "first": float(self.leads[between.first][i]), "second": float(self.leads[between.second][i])}
                for i in between.disputed for p in [self.pairs[i]]]  # fmt: skip

    @cached_property
    def untested(self) -> list[str]:
        """Faults of which nothing can be said: they were not looked for, or on too few clusters."""
        return untested(self)

    def row(self) -> dict[str, Any]:
        """All of it but the pairs, as JSON can say it."""
        maybe = {"order": self.order, "contrast": self.contrast, "optimisation": self.optimisation}
        return {
            "reward": self.reward, "data": self.data, "left": self.left, "accuracy": self.accuracy.row(), "mean_lead": self.mean_lead,
            "faults": [f.row() for f in self.faults], "undecided": self.undecided, "untested": self.untested,
            "by": {c: {v: e.row() for v, e in t.items()} for c, t in self.by.items()},
            "lengths": {n: e.row() for n, e in self.lengths.items()},
            "calibration": self.calibration.row(), "noise": self.noise.row(),
            "paraphrased": {n: e.row() for n, e in self.paraphrased.items()}, "effects": [e.row() for e in self.effects],
            **{k: None if v is None else v.row() for k, v in maybe.items()}, "agreements": [a.row() | {"disputed": self.disputes(a)} for a in self.agreements],
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
    there, back = _both_orders(referee, pairs, probes)
    leads = (there + back) / 2 if referee.both else there
    known: list[int] = np.flatnonzero(np.isfinite(leads)).tolist()
    if not known:
        raise FeedbackError(f"{referee.name} applies to none of {len(pairs)} comparisons: give it others")
    left = len(pairs) - len(known)
    pairs, there, back, leads = [pairs[i] for i in known], there[known], back[known], leads[known]
    keys = [prompt_key(p.prompt) for p in pairs] if clusters is None else [clusters[i] for i in known]
    rows = _spread(len(pairs), probes)
    probed, of_probed = [pairs[i] for i in rows], [keys[i] for i in rows]
    size = float(np.abs(leads).mean()) or 1.0
    all_leads = {referee.name: leads} | {n: Referee(r, batch_size=batch_size, tick=tick)(pairs).numpy()
                                         for n, r in (others or {}).items()}  # fmt: skip
    return Trust(
        referee.name, fingerprint_of(pairs), left, Bootstrap(keys, draws=2000).share(right(leads)), size,
        by_columns(pairs, leads, keys, by), by_length(pairs, leads, keys), calibration(leads, keys), noise(leads, keys, pairs),
        order(there[rows], back[rows], np.array([chosen_first(p) for p in probed]), size, of_probed) if probed else None,
        paraphrased(referee, probed, leads[rows], of_probed) if probed else {}, contrast(referee, pairs, keys, probes) if probed else None,
        effects(referee, probed, leads[rows], size, of_probed) if probed else [],
        None if isinstance(reward, Compares) else
        optimisation(reward, pools(records, pairs), clusters={prompt_key(p.prompt): k for p, k in zip(pairs, keys, strict=True)}),
        agreements(all_leads, keys), all_leads, pairs,
    )  # fmt: skip


def _text(completion: Any) -> str:
    return text_of_completion(completion) or f"({type(completion).__name__})"


def _spread(n: int, most: int) -> list[int]:
    """At most so many of n, evenly spread."""
    return sorted(set(np.linspace(0, n - 1, min(most, n)).astype(int).tolist()))


def _both_orders(
    referee: Referee, pairs: Sequence[Comparison], probes: int
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Leads in the order drawn, and in the other one: of all pairs where a probe of them says that places matter, else of those
    that were probed, and of the rest what they are in the former."""
    there = referee.shown(pairs).numpy()
    known = np.flatnonzero(np.isfinite(there))
    back = there.copy()

    def ask(rows: Array) -> None:
        back[rows] = referee.shown([pairs[i] for i in rows], swapped=True).numpy()

    if not len(known):
        return there, back
    probed = known[_spread(len(known), probes)]
    ask(probed)
    referee.both = not np.allclose(back[known], there[known], rtol=1e-3, atol=1e-3 * np.abs(there[known]).mean())
    if referee.both:
        ask(np.setdiff1d(known, probed))
    return there, back


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
            told = {v: Bootstrap([clusters[i] for i in r]).share(right(leads[r])) for v, r in rows.items()}
            found[column] = dict(sorted(told.items(), key=lambda x: x[1].value))
    return found
