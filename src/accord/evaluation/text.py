"""Surface measures of texts."""

from collections.abc import Sequence


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Share of different word n-grams among all; 1 is all different, near 0 is one text over and over."""
    grams = [tuple(words[i : i + n]) for t in texts for words in [t.split()] for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
