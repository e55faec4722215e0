"""Features without a model: which words an answer has."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import wanted
from accord.feedback import Prompt, prompt_key, text_of_completion

WORD = re.compile(r"\w+|[^\w\s]")


class WordFeatures:
    """Hashed counts of an answer's words and pairs of words, over the root of their number; a word that the prompt has too counts apart.

    No model and thousands of answers a second: for a first look, and for so many that an encoder would take days.

    Args:
        width: buckets that words are hashed into.
    """

    def __init__(self, width: int = 1024) -> None:
        wanted(width >= 1, "width must be at least 1", width)
        self.width, self.fingerprint = width, f"words:{width}"

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        rows = np.zeros((len(completions), self.width), np.float32)
        for row, prompt, completion in zip(rows, prompts, completions, strict=True):
            asked = set(WORD.findall(prompt_key(prompt).lower()))
            words = WORD.findall(text_of_completion(completion).lower())
            marks = [f"\x1f{w}" if w in asked else w for w in words] + [f"{a} {b}" for a, b in pairwise(words)]  # fmt: skip
            places = np.fromiter((crc32(m.encode(errors="surrogatepass")) for m in marks), np.int64, len(marks))
            row += np.bincount(places % self.width, minlength=self.width) / max(1, len(marks)) ** 0.5
        return torch.from_numpy(rows)
