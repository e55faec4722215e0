"""Published benchmarks of rewards: their layouts, and what they make of scores."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.evaluation.benchmarks.layouts import benchmark_rows
    from accord.evaluation.benchmarks.tables import rewardbench, rm_bench
else:
    lazy(__name__)

__all__ = ["benchmark_rows", "rewardbench", "rm_bench"]
