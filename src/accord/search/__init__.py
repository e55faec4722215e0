"""Better outputs without training."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.search.best_of_n import best_of_n
    from accord.search.noise import Optimised, noise_optimise, norm_log_density
else:
    lazy(__name__)

__all__ = ["Optimised", "best_of_n", "noise_optimise", "norm_log_density"]
