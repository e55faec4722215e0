"""accord demo."""

from pathlib import Path

from accord.cli.data import quiet_diffusers, say
from accord.engine.fit import Resume
from accord.engine.run import Run
from accord.errors import RunError


def letters(
    out: str = "runs/letters",
    pairs: int = 3000,
    steps: int = 60,
    seed: int = 0,
    resume: Resume = False,
) -> None:
    """From simulated people's verdicts to a better tiny language model, with a report (about two minutes).

    Args:
        out: folder of the run.
        pairs: verdicts to learn from.
        steps: of alignment.
        seed: of everything.
        resume: go on from the last checkpoint; "anyway" also with other options than the run began with.
    """
    from accord.worlds.letters.demo import run_demo

    _check(out, resume)
    run, report = run_demo(Path(out), pairs=pairs, steps=steps, seed=seed, resume=resume, say=say)
    _tell(run, report, "requests")


def portraits(
    out: str = "runs/portraits",
    steps: int = 36,
    learning: int = 300,
    seed: int = 0,
    resume: Resume = False,
) -> None:
    """From one picture of a new face to a picture generator that has learned it; then rewards, and a report on whether they helped.

    Args:
        out: folder of the run.
        steps: of alignment with rewards.
        learning: steps of denoising on the picture before that.
        seed: of everything, the face included.
        resume: go on from the last checkpoint; "anyway" also with other options than the run began with.
    """
    quiet_diffusers()
    from accord.worlds.portraits.demo import run_demo

    _check(out, resume)
    run, report = run_demo(Path(out), steps=steps, learning=learning, seed=seed, resume=resume, say=say)
    _tell(run, report, "prompts")


def _check(out: str, resume: bool | str) -> None:
    if (Path(out) / "run.json").is_file() and not resume and Run.open(out).metrics:
        raise RunError(f"{out} already holds a run: go on with --resume, or give another --out")


def _tell(run: Run, report: Path, what: str) -> None:
    first, last = run.evaluations[0], run.evaluations[-1]
    print(
        f"proxy {first['reward/proxy']:.3f} -> {last['reward/proxy']:.3f}, gold {first['reward/gold']:.3f} -> "
        f"{last['reward/gold']:.3f} on held-out {what}\nreport: {report.resolve()}"
    )
