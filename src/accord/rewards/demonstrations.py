"""How far an answer is from the demonstration of its prompt, in words and in reward."""

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import RewardError
from accord.feedback import text_of_completion
from accord.rewards.pieces import Pieces, sentences
from accord.rewards.reward import Reward, load_state_of, score, state_of
from accord.rewards.scores import Scores

Encode = Callable[[Sequence[str]], Float[Tensor, "n d"]]
"""Texts to features of unit length: a `SentenceEncoder`, or any other."""


class BesideDemonstrations:
    """A reward, with two aspects of every answer beside the demonstration of its prompt: `distance`, ``1 - mean_k max_l cos(S_k, S'_l)``
    over the pieces S of the demonstration and S' of the answer, and `gap`, by how much the demonstration's reward is higher
    (the difficulty of DR-IRL, Cheng et al. 2025, arXiv 2503.18991).

    Args:
        reward: any. encode: features of pieces, by default which words they have, whatever their order.
        column: that holds the demonstrations. pieces: how texts are cut.
    """

    def __init__(
        self, reward: Reward, encode: Encode | None = None, *, column: str = "demonstration", pieces: Pieces = sentences
    ) -> None:
        self.reward, self.encode, self.column, self.pieces = reward, encode or bag_of_words, column, pieces

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        if self.column not in columns:
            raise RewardError(
                f"this reward reads demonstrations from the column {self.column!r}, but the data have only {sorted(columns)}"
            )
        shown = columns[self.column]
        said = score(self.reward, prompts=prompts, completions=completions, **columns)
        first = {
            (g, d): i for i, (g, d) in reversed(list(enumerate(zip(columns["group"], map(str, shown), strict=True))))
        }
        rows = list(first.values())
        own: dict[str, Any] = {k: [v[i] for i in rows] for k, v in columns.items()}
        theirs = score(
            self.reward, prompts=[prompts[i] for i in rows], completions=[shown[i] for i in rows], **own
        ).values
        worth = dict(zip(first, theirs, strict=True))
        gap = torch.stack([worth[g, str(d)] for g, d in zip(columns["group"], shown, strict=True)]) - said.values
        far = [
            self.distance(text_of_completion(d), text_of_completion(c)) for d, c in zip(shown, completions, strict=True)
        ]
        return said.with_values(said.values, distance=torch.tensor(far), gap=gap.detach())

    def distance(self, demonstration: str, answer: str) -> float:
        """In [0, 2]; 0 where all of the demonstration is said."""
        a, b = ([t[i:j].strip() for i, j in self.pieces(t)] for t in (demonstration, answer))
        if not a or not b:
            return 1.0
        return 1.0 - float((self.encode(a) @ self.encode(b).T).amax(1).mean())

    def state(self) -> dict[str, Tensor]:
        return state_of(self.reward)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_state_of(self.reward, state)


def bag_of_words(texts: Sequence[str], size: int = 4096) -> Float[Tensor, "n d"]:
    """How often each word stands in a text, of unit length; words share a place by their hash."""
    out = torch.zeros(len(texts), size)
    for i, text in enumerate(texts):
        for word in text.lower().split():
            out[i, crc32(word.encode()) % size] += 1
    return torch.nn.functional.normalize(out, dim=-1)
