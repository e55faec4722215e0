"""Is the reward right? Is the policy better? Was anything hacked?"""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.evaluation.accuracy import Estimate, accuracy, win_rate
    from accord.evaluation.alarms import Alarm, alarms
    from accord.evaluation.best_of_n import best_of_n_curve
    from accord.evaluation.held_out import held_out
    from accord.evaluation.newcomers import Personal, newcomers
    from accord.evaluation.probe import Probe
    from accord.evaluation.report import write_report
    from accord.evaluation.text import distinct
else:
    lazy(__name__)

__all__ = [
    "Alarm",
    "Estimate",
    "Personal",
    "Probe",
    "accuracy",
    "alarms",
    "best_of_n_curve",
    "distinct",
    "held_out",
    "newcomers",
    "win_rate",
    "write_report",
]
