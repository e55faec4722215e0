"""Better outputs without training."""

from accord.search.best_of_n import best_of_n
from accord.search.noise import Optimised, noise_optimise, norm_log_density

__all__ = ["Optimised", "best_of_n", "noise_optimise", "norm_log_density"]
