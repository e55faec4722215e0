"""What `accord align` measures of held-out records before, while and after a policy learns."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.algorithms import Preference
from accord.cli.methods import Trainer
from accord.evaluation import Probe, accuracy
from accord.evaluation import held_out as loss_on
from accord.evaluation.played import Played
from accord.feedback import Comparison, prompt_key
from accord.policies import ControlPolicy
from accord.rewards import Reward

Measure = Callable[[int], dict[str, float]]


def measure(trainer: Trainer, algorithm: Any, held: Sequence[Any], rewards: Mapping[str, Reward], sampling: Any = None, *,
            folder: str | Path, by: str = "prompt") -> Measure:  # fmt: skip
    """By rewards, what its policy draws; of comparisons, whom it prefers; of other records, the method's own loss.

    Args:
        held: records, or comparisons of a method that learns from pairs.
        rewards: by name. folder: where samples go. by: what makes pairs dependent: "prompt", or a column.
    """
    if trainer.samples:
        if isinstance(algorithm.policy, ControlPolicy):
            return Played(algorithm.policy, held, rewards, sampling, folder=folder)
        reference = getattr(algorithm, "reference", None)
        return Probe(algorithm.policy, held, rewards, sampling, folder=folder, reference=reference)
    if trainer.paired:
        return lambda step: implicit_accuracy(algorithm, held, by)
    return lambda step: loss_on(algorithm, held)


def implicit_accuracy(algorithm: Preference, pairs: Sequence[Comparison], by: str = "prompt") -> dict[str, float]:
    """How often a policy prefers the chosen answer: by the implicit reward ``log pi/pi_ref`` (0.5 before training, as
    all its values are 0 then), and by its likelihood per token, which means something before as well."""
    gaps, plain = algorithm.evaluate(pairs)
    names = [prompt_key(p.prompt) if by == "prompt" else str(p.columns.get(by)) for p in pairs]
    row: dict[str, float] = {}
    for name, x in (("accuracy", gaps), ("likelihood_accuracy", plain)):
        found = accuracy(x, names)
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {**row, "margin": float(gaps.mean()), "pairs": float(len(pairs))}
