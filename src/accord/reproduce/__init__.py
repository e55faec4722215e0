"""One short file for each published system: its claim, its arms, its measurement."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.reproduce.claim import Claim, Primary
    from accord.reproduce.harness import System, claims, reproduce_one
    from accord.reproduce.result import Result
    from accord.reproduce.verdict import Interval, judge, paired_interval
else:
    lazy(__name__)

__all__ = ["Claim", "Interval", "Primary", "Result", "System", "claims", "judge", "paired_interval", "reproduce_one"]
