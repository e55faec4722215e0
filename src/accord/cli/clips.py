"""Clips in files: folders of frames, in the order of the numbers in their names."""

import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from accord.cli.intake import Answers, Intake, Verdict
from accord.engine.run import new_folder
from accord.errors import FeedbackError
from accord.evaluation.pictures import save_picture
from accord.feedback import Record
from accord.feedback.formats import PICTURES

FIELDS = ("completion", "chosen", "rejected")


def save_clip(clip: Tensor, folder: Path) -> None:
    """Each frame [3, height, width] as a picture, in a folder that holds nothing else."""
    with new_folder(folder) as part:
        for t, frame in enumerate(clip):
            save_picture(frame, part / f"{t:04d}.png")


def with_frames(record: Record, data: str = "") -> Record:
    """The record, with the frames of every completion that names a folder of pictures in its place.

    Args:
        data: file (or folder) of the record: names count from where it lies, else from here.
    """
    path = Path(data)
    home = path if path.is_dir() else path.parent
    named = {f: found for f in FIELDS if (found := _frames(getattr(record, f, None), home))}
    several = getattr(record, "completions", ())
    if any(found := [_frames(c, home) for c in several]):
        named["completions"] = [frames or c for frames, c in zip(found, several, strict=True)]
    return record.model_copy(update=named) if named else record


def are_clips(intake: Intake, answers: Answers) -> Verdict:
    """Leaves out what is no clip.

    Raises:
        FeedbackError: (the verdict) an answer is no folder of frames, and those are not to be skipped.
    """

    def verdict(record: Any) -> str | None:
        other = next((a for a in answers(record) if isinstance(a, str)), None)
        if other is None:
            return None
        if not intake.skip_bad:
            where = f"{intake.source}, {intake.place(record)}"
            raise FeedbackError(f"{where}: {other[:60]!r} is no folder of frames (--skip-bad leaves it out)")
        return "names no folder of frames"

    return verdict


def _frames(completion: Any, home: Path) -> list[Any]:
    """The files of a clip's frames; none of anything else."""
    if not isinstance(completion, str):
        return []
    # os.path, as it may be any text: Path.is_dir raises where it is longer than a name can be.
    folder = next((f for f in (home / completion, completion) if completion and os.path.isdir(f)), None)
    if folder is None:
        return []
    return sorted((str(f) for f in Path(folder).iterdir() if f.suffix.lower() in PICTURES), key=_numbered)


def _numbered(name: str) -> list[str | int]:
    """By its numbers: 2.png comes before 10.png."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]
