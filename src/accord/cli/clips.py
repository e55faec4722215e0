"""Clips in files: folders of frames, in the order of their names."""

from pathlib import Path
from typing import Any

from torch import Tensor

from accord.evaluation.pictures import save_picture
from accord.feedback import Record
from accord.feedback.formats import PICTURES

FIELDS = ("completion", "chosen", "rejected")


def save_clip(clip: Tensor, folder: Path) -> None:
    """Each frame [3, height, width] as a picture."""
    for t, frame in enumerate(clip):
        save_picture(frame, folder / f"{t:04d}.png")


def with_frames(record: Record) -> Record:
    """The record, with the frames of every completion that names a folder of pictures in its place."""
    named = {f: found for f in FIELDS if (found := _frames(getattr(record, f, None)))}
    if any(map(_frames, several := getattr(record, "completions", ()))):
        named["completions"] = [_frames(c) or c for c in several]
    return record.model_copy(update=named) if named else record


def is_clip(completion: Any) -> bool:
    """Whether it names a folder of pictures."""
    return bool(_frames(completion))


def _frames(completion: Any) -> list[Any]:
    """The files of a clip's frames; none of anything else."""
    folder = Path(completion) if isinstance(completion, str) and 0 < len(completion) < LONGEST else None
    if folder is None or not folder.is_dir():
        return []
    return sorted(str(f) for f in folder.iterdir() if f.suffix.lower() in PICTURES)


LONGEST = 1024
"""Characters of a path; no system has longer ones everywhere."""
