"""New people are tested on what they were not known by."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from accord.errors import FeedbackError
from accord.evaluation import newcomers
from accord.feedback import Comparison
from accord.rewards import Reward

# Six questions to each of five people, each judged three times.
SAID = [Comparison(prompt=f"p{k}", chosen="a" if (i + k) % 2 else "b", rejected="b" if (i + k) % 2 else "a", annotator=f"who-{i}")
        for i in range(5) for k in range(6) for _ in range(3)]  # fmt: skip


class Memory:
    """Knows the verdicts that it was told by heart, and nothing else."""

    def for_newcomer(self, said: Sequence[Comparison]) -> Reward:
        liked = {(p.prompt, p.chosen) for p in said}

        def reward(*, prompts: Any, completions: Any, **columns: Any) -> torch.Tensor:
            return torch.tensor([float(s in liked) for s in zip(prompts, completions, strict=True)])

        return reward


@pytest.mark.parametrize("k", [1, 4, 8])
def test_who_only_remembers_what_was_said_knows_nobody(k: int) -> None:
    assert newcomers(Memory(), SAID, k).value == 0.5


def test_people_who_said_nothing_else_can_not_be_tested() -> None:
    with pytest.raises(FeedbackError, match="smaller number"):
        newcomers(Memory(), [p for p in SAID if p.prompt == "p0"], 2)
