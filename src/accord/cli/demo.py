"""accord demo."""

from pathlib import Path

from accord.cli.data import say
from accord.engine.run import Run
from accord.errors import RunError
from accord.worlds.letters.demo import run_demo


def letters(out: str = "runs/letters", pairs: int = 3000, steps: int = 60, seed: int = 0, resume: bool = False) -> None:
    """From simulated people's verdicts to a better tiny language model, with a report (about two minutes).

    Args:
        out: folder of the run.
        pairs: verdicts to learn from.
        steps: of alignment.
        seed: of everything.
        resume: go on from the last checkpoint.
    """
    if (Path(out) / "run.json").is_file() and not resume and Run.open(out).metrics:
        raise RunError(f"{out} already holds a run: go on with --resume, or give another --out")
    run, report = run_demo(Path(out), pairs=pairs, steps=steps, seed=seed, resume=resume, say=say)
    first, last = run.evaluations[0], run.evaluations[-1]
    print(
        f"proxy {first['reward/proxy']:.3f} -> {last['reward/proxy']:.3f}, gold {first['reward/gold']:.3f} -> "
        f"{last['reward/gold']:.3f} on held-out requests\nreport: {report.resolve()}"
    )
