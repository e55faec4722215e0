"""Two kinds of people on letters: some like details and politeness, others short answers; what both get of a policy's answers."""

from collections.abc import Iterable
from statistics import fmean

import torch

from accord.worlds.letters import gold, spurious

LONG = 40
"""Words of an answer that has nothing of brevity."""


def both(prompts: list[str], completions: list[str]) -> tuple[float, float]:
    """Means of details and of brevity, each in [0, 1]; what is no answer has neither, however short it is."""
    said, words = gold(prompts=prompts, completions=completions).aspects, spurious(completions)["length"]
    answers = torch.stack([*said.values()]).sum(0) > 0
    detailed = 0.6 * said["helpful"] + 0.4 * said["polite"]
    brief = [max(0.0, 1 - n / LONG) * bool(a) for n, a in zip(words, answers, strict=True)]
    return float(detailed.mean()), fmean(brief)


def area(points: Iterable[tuple[float, float]]) -> float:
    """Of what lies below and left of any point."""
    total, best = 0.0, 0.0
    for x, y in sorted(points, reverse=True):
        total += x * max(0.0, y - best)
        best = max(best, y)
    return total
