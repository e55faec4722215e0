"""Who votes on labels: rewards as the command line names them, and heads that are taught on a sample of the comparisons themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from accord.cli.rewards import RewardSpec, check_reward
from accord.engine.origin import weights_of
from accord.feedback import Comparison
from accord.rewards import (
    Committee,
    Features,
    HeadReward,
    Reward,
    SentenceEncoder,
    SentenceFeatures,
    WordFeatures,
    collaborate,
)
from accord.rewards.features import Remembered

ALONE, PEERS = "encoder:", "peers:"
"""Before the name of an encoder, or words: heads that learn from all labels, or two that review each other's."""


@dataclass
class Electorate:
    """Opens all voters at once; called with a sample, it teaches those that are taught, for a pass or three: longer they would learn wrong labels by
    heart.

    Args:
        opened: opens a reward. heads: of each encoder:. noise: share of labels that peers take to be wrong. device: of encoders.
    """

    specs: Sequence[RewardSpec]
    opened: Callable[[RewardSpec], Reward]
    heads: int
    noise: float
    seed: int
    device: str

    def __post_init__(self) -> None:
        self._voters: list[tuple[RewardSpec, Any]] = [
            (spec, self._features(spec) if taught(spec) else self.opened(spec)) for spec in self.specs
        ]

    @property
    def marks(self) -> list[str]:
        """Of what votes, or is taught on; see `mark`."""
        return [mark(voter) for _, voter in self._voters]

    def __call__(self, some: Sequence[Comparison]) -> list[Reward]:
        found: list[Reward] = []
        for spec, voter in self._voters:
            if not taught(spec):
                found.append(voter)
            elif taught(spec, ALONE):
                found.append(Committee(voter, self.heads, seed=self.seed).fitted(some, epochs=1, lr=1e-2))
            else:
                found += self._peers(voter, some)
        return found

    def _peers(self, features: Features, some: Sequence[Comparison]) -> list[Reward]:
        table = Remembered(features)
        one, other = (HeadReward(table, hidden=0, seed=self.seed + i) for i in range(2))
        collaborate(one, other, some, noise=self.noise, epochs=3, lr=1e-2, seed=self.seed)
        one.features = other.features = features  # what is remembered of the sample is of no more use
        return [one, other]

    def _features(self, spec: Any) -> Features:
        name = spec.partition(":")[2]
        return (
            WordFeatures()
            if name == "words"
            else SentenceFeatures(SentenceEncoder(name, device=self.device, keep=False))
        )


def taught(spec: RewardSpec, *how: str) -> bool:
    """Whether a voter is taught on the data (in one of these ways)."""
    return isinstance(spec, str) and spec.startswith(how or (ALONE, PEERS))


def check_voters(specs: Sequence[RewardSpec]) -> None:
    """Refuse, before anything is loaded, rewards that can't be opened."""
    for spec in specs:
        if not taught(spec):
            check_reward(spec)


def mark(model: Any) -> str:
    """A fingerprint of what has weights; "" of what has none."""
    found = getattr(model, "fingerprint", "")
    return str(found or (weights_of({"": model})[""] if isinstance(model, nn.Module) else ""))
