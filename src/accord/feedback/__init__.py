"""What people or judges said: records, and readers for the shapes in which people keep them."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.feedback.goals import asked_for, reward_augmented
    from accord.feedback.messages import (
        Message,
        Prompt,
        instructed,
        is_picture,
        picture_key,
        pictures_of,
        prompt_key,
        text_of,
        text_of_completion,
        with_picture,
    )
    from accord.feedback.reading import Feedback, read, rows_of, stream
    from accord.feedback.records import (
        Comparison,
        Example,
        Label,
        Marked,
        Provenance,
        Ranking,
        Rating,
        Record,
        Task,
        columns_of,
        comparisons_of,
        prompt_of,
    )
    from accord.feedback.turns import as_conversation
else:
    lazy(__name__)

__all__ = [
    "Comparison",
    "Example",
    "Feedback",
    "Label",
    "Marked",
    "Message",
    "Prompt",
    "Provenance",
    "Ranking",
    "Rating",
    "Record",
    "Task",
    "as_conversation",
    "asked_for",
    "columns_of",
    "comparisons_of",
    "instructed",
    "is_picture",
    "picture_key",
    "pictures_of",
    "prompt_key",
    "prompt_of",
    "read",
    "reward_augmented",
    "rows_of",
    "stream",
    "text_of",
    "text_of_completion",
    "with_picture",
]
