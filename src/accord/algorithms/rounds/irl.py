"""What rewards from demonstrations learn from."""

from collections.abc import Sequence
from typing import Any

from accord.feedback import Comparison, Example


def irl_pairs(policy: Any, examples: Sequence[Example], sampling: Any = None, *, seed: int = 0) -> list[Comparison]:
    """Each demonstration over an answer of the policy's own: what a Bradley-Terry reward learns from in IRL."""
    drawn = policy.sample([e.prompt for e in examples], 1, sampling or policy.sampling_kind(), seed=seed).completions
    return [Comparison(prompt=e.prompt, chosen=e.completion, rejected=c, columns=e.columns)
            for e, c in zip(examples, drawn, strict=True) if e.completion != c]  # fmt: skip
