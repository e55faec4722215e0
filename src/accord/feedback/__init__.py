"""What people or judges said: records, and readers for the shapes in which people keep them."""

from accord.feedback.reading import Feedback, read, stream
from accord.feedback.records import (
    Comparison,
    Example,
    Label,
    Message,
    Prompt,
    Provenance,
    Ranking,
    Rating,
    Record,
    Task,
    comparisons_of,
    picture_key,
    pictures_of,
    prompt_key,
    text_of,
    with_picture,
)

__all__ = [
    "Comparison",
    "Example",
    "Feedback",
    "Label",
    "Message",
    "Prompt",
    "Provenance",
    "Ranking",
    "Rating",
    "Record",
    "Task",
    "comparisons_of",
    "picture_key",
    "pictures_of",
    "prompt_key",
    "read",
    "stream",
    "text_of",
    "with_picture",
]
