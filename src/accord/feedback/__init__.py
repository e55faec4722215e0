"""What people or judges said: records, and readers for the shapes in which people keep them."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.feedback.cleaning import Cleaning
    from accord.feedback.curation import account, dropped, flipped, kept, notes_of, original, usable
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
    from accord.feedback.pairs import Node, pairs_of_frontier, pairs_of_log, pairs_of_scores, pairs_of_tree
    from accord.feedback.people import InContext, by_person, in_context, split_people
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
    "Cleaning",
    "Comparison",
    "Example",
    "Feedback",
    "InContext",
    "Label",
    "Marked",
    "Message",
    "Node",
    "Prompt",
    "Provenance",
    "Ranking",
    "Rating",
    "Record",
    "Task",
    "account",
    "as_conversation",
    "asked_for",
    "by_person",
    "columns_of",
    "comparisons_of",
    "dropped",
    "flipped",
    "in_context",
    "instructed",
    "is_picture",
    "kept",
    "notes_of",
    "original",
    "pairs_of_frontier",
    "pairs_of_log",
    "pairs_of_scores",
    "pairs_of_tree",
    "picture_key",
    "pictures_of",
    "prompt_key",
    "prompt_of",
    "read",
    "reward_augmented",
    "rows_of",
    "split_people",
    "stream",
    "text_of",
    "text_of_completion",
    "usable",
    "with_picture",
]
