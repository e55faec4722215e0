"""A progress bar on stderr with the numbers one watches."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

WATCHED = ("loss", "reward", "margin", "accuracy", "kl")


class Progress:
    """Steps done and to come, with live loss, reward, margin and KL."""

    def __init__(self, steps: int, done: int, *, enabled: bool) -> None:
        self._bar = Bar(
            BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), disable=not enabled,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=steps, completed=done, numbers="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def update(self, done: int, metrics: dict[str, float]) -> None:
        numbers = "  ".join(f"{k} {metrics[k]:.3g}" for k in WATCHED if k in metrics)
        self._bar.update(self._task, completed=done, numbers=numbers)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
