"""What is wrong with a reward, by name and size: only what is surely there, and large enough to matter."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from accord.evaluation.accuracy import Estimate
from accord.evaluation.trust.intervals import LEAST
from accord.evaluation.trust.rewriting import PLOYS

if TYPE_CHECKING:
    from accord.evaluation.trust.trust import Trust

GAIN = 0.1
"""Mean leads that a ploy or a place may win."""
RATE = 0.05
"""Noise that any labels have."""
MUCH = 0.15
"""Noise that would matter, if it is there."""
KEPT = 0.95
"""Verdicts that have to stay where the meaning does."""
READS = 0.6
"""How often an answer has to get more under its own request than under another, at least; chance is 0.5."""


@dataclass(frozen=True)
class Fault:
    """Attributes:
    size: with its interval, all of which lies beyond what is let pass. unit: of the size. says: what that means.
    """

    name: str
    size: Estimate
    unit: str
    says: str

    def __str__(self) -> str:
        s = self.size
        if self.unit == "%":
            return f"{self.name}: {100 * s.value:.0f} % [{100 * s.low:.0f}, {100 * s.high:.0f}]; {self.says}"
        return f"{self.name}: {s.value:.2f} [{s.low:.2f}, {s.high:.2f}] {self.unit}; {self.says}"

    def row(self) -> dict[str, Any]:
        return asdict(self)


def faults(t: "Trust") -> list[Fault]:
    """All faults of what was measured, the same whatever the reward's unit is; of fewer than `LEAST` clusters nothing is said."""
    found = [*_biases(t), *_place(t), *_unsteady(t), *_deaf(t), *_noisy(t), *_falls(t)]
    if t.accuracy.high <= 0.5:
        found.insert(0, Fault("accuracy", t.accuracy, "%", "it ranks no better than a coin"))
    return [f for f in found if f.size.clusters >= LEAST]


def undecided(t: "Trust") -> list[str]:
    """Faults that may be there or not, with how large they may be: their intervals hold what is let pass, and what would matter."""
    a, e, found = t.accuracy, t.noise.rate, []
    if a.clusters >= LEAST and a.low <= 0.5 < a.high:
        found.append(f"accuracy, {100 * a.low:.0f} to {100 * a.high:.0f} %: it may rank no better than a coin")
    if e.clusters >= LEAST and e.low <= RATE and e.high > MUCH:
        found.append(f"noise, {100 * e.low:.0f} to {100 * e.high:.0f} %")
    return found


def untested(t: "Trust") -> list[str]:
    """Names of the faults that were not looked for, or on fewer than `LEAST` clusters."""
    tried: dict[str, list[Estimate | None]] = {
        "accuracy": [t.accuracy],
        **{bias: [e.gain for e in t.effects if e.bias == bias] for bias in PLOYS},
        "position": [t.order.gain if t.order else None],
        "paraphrase": [*t.paraphrased.values()],
        "request": [t.contrast.request if t.contrast else None],
        "noise": [t.noise.rate],
        "over-optimisation": [t.optimisation.fall if t.optimisation else None],
    }
    return [name for name, seen in tried.items() if not any(e and e.clusters >= LEAST for e in seen)]


def _biases(t: "Trust") -> list[Fault]:
    """Of the ploys of one kind, the one that wins most."""
    by_kind: dict[str, Fault] = {}
    for e in t.effects:
        size, beyond = e.own, "" if e.beyond_length is None else " beyond what its length gains"
        turned = (
            "" if e.overturned is None else f", and {_share(e.overturned)} of the right verdicts are overturned by it"
        )
        says = f"an answer that is {e.ploy} gains so much{beyond}{turned}"
        if size.low > GAIN and e.gain.low > GAIN and (e.bias not in by_kind or by_kind[e.bias].size.value < size.value):
            by_kind[e.bias] = Fault(e.bias, size, "mean leads", says)
    return list(by_kind.values())


def _place(t: "Trust") -> list[Fault]:
    if t.order is None or (t.order.gain.low <= GAIN and t.order.gain.high >= -GAIN):
        return []
    liked = "first" if t.order.gain.value > 0 else "second"
    says = f"the answer shown {liked} gains so much, and {_share(t.order.kept)} of the verdicts stay when the two change places"
    return [Fault("position", t.order.gain, "mean leads", says)]


def _unsteady(t: "Trust") -> list[Fault]:
    says = "so many verdicts stay when answers are {}, which leaves their meaning as it is"
    return [
        Fault("paraphrase", kept, "%", says.format(name)) for name, kept in t.paraphrased.items() if kept.high < KEPT
    ]


def _deaf(t: "Trust") -> list[Fault]:
    if t.contrast is None or t.contrast.request is None or t.contrast.request.high >= READS:
        return []
    return [Fault("request", t.contrast.request, "%", "an answer gets no more under its own request than under another: what was asked counts little")]  # fmt: skip


def _noisy(t: "Trust") -> list[Fault]:
    if t.noise.rate.low <= RATE:
        return []
    people = (
        ""
        if t.noise.people is None
        else f"; by how people contradict each other, {_share(t.noise.people)} of the labels are wrong"
    )
    says = f"so many verdicts contradict it however sure it is: wrong labels, or its own mistakes{people}"
    return [Fault("noise", t.noise.rate, "%", says)]


def _falls(t: "Trust") -> list[Fault]:
    o = t.optimisation
    if o is None or o.fall.low <= GAIN:
        return []
    n = int(o.curve[-1]["n"])
    says = f"the best of {n} by it is that much worse to people than the best of fewer"
    return [Fault("over-optimisation", o.fall, "standard deviations", says)]


def _share(x: Estimate | float) -> str:
    return f"{100 * (x if isinstance(x, float) else x.value):.0f} %"
