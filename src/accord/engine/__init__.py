"""`fit()`: the one training loop. It knows algorithms only by what `Algorithm` asks of them."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.engine.algorithm import Algorithm, Learner, Loss, Mean, Rows, Step, check_rows
    from accord.engine.fit import fit
    from accord.engine.processes import gather, on_main, wait_for_all
    from accord.engine.run import Run
    from accord.engine.seeds import Seeds, derive, generator
    from accord.engine.training import Training
else:
    lazy(__name__)

__all__ = [
    "Algorithm",
    "Learner",
    "Loss",
    "Mean",
    "Rows",
    "Run",
    "Seeds",
    "Step",
    "Training",
    "check_rows",
    "derive",
    "fit",
    "gather",
    "generator",
    "on_main",
    "wait_for_all",
]
