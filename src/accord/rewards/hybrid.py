"""HARMO: rules where an answer can be verified, a model where it can't, and behaviour beside both."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.errors import one_of, wanted
from accord.feedback import text_of_completion
from accord.rewards.reward import Reward, load_states_of, score, states_of
from accord.rewards.scores import Scores


def shortfall(good: Bool[Tensor, "n"], length: Float[Tensor, "n"], group: Int[Tensor, "n"], most: float = 0.5, *,
              both_sides: bool = False) -> Float[Tensor, "n"]:  # fmt: skip
    """``-most (L - l) / L`` for an answer that is not good and shorter than L, the mean length of the good ones of its group; else 0.

    Args:
        both_sides: those that are longer pay too, ``(l - L) / L``, at most `most`.
    """
    out = torch.zeros_like(length)
    for g in group.unique().tolist():
        members = group == g
        if bool((members & good).any()):
            needed = length[members & good].mean().clamp(min=1.0)
            short = (needed - length) / needed
            ramp = short.abs().clamp(max=1.0) if both_sides else short.clamp(0.0, 1.0)
            out = torch.where(members & ~good, -most * ramp, out)
    return out


class Hybrid:
    """``accuracy + format + shortfall``: the reward of HARMO (Gulhane et al. 2025, arXiv 2510.05283), to be used with
    `GRPO(scale=False)`. The shortfall keeps RL on accuracy from drifting to ever shorter answers; it never ranks a wrong one
    above a good one, and never touches a good one.

    Args:
        accuracy: in [0, 1]: a rule where there is one, a calibrated model elsewhere, as `routed` joins them.
        format: 1 where the template was followed; counts `format_weight`.
        most: the shortfall's greatest size. good: accuracy from which an answer is good. both_sides: see `shortfall`.
        unit: in which length is counted, "words" or "characters".
    """

    def __init__(self, accuracy: Reward, format: Reward | None = None, *, format_weight: float = 0.5, most: float = 0.5,
                 good: float = 0.5, both_sides: bool = False, unit: str = "words") -> None:  # fmt: skip
        wanted(most >= 0 and format_weight >= 0, "HARMO wants most >= 0 and format_weight >= 0", (most, format_weight))
        one_of("unit", unit, "words", "characters")
        self.parts = {"accuracy": accuracy} | ({} if format is None else {"format": format})
        self.format_weight, self.most, self.good, self.both_sides, self.unit = (
            format_weight,
            most,
            good,
            both_sides,
            unit,
        )

    def __call__(self, *, prompts: Sequence[Any], completions: Any, group: Sequence[int], **columns: Any) -> Scores:
        said = {
            n: score(r, prompts=prompts, completions=completions, group=list(group), **columns)
            for n, r in self.parts.items()
        }
        accurate = said["accuracy"]
        texts = [text_of_completion(c) for c in completions]
        length = torch.tensor([float(len(t.split()) if self.unit == "words" else len(t)) for t in texts])
        good = ((accurate.values >= self.good) & accurate.valid).detach()
        paid = shortfall(good, length, torch.tensor(list(group)), self.most, both_sides=self.both_sides)
        total = accurate.values + paid.masked_fill(~accurate.valid, 0.0)
        aspects = {"accuracy": accurate.values, "shortfall": paid}
        if "format" in said:
            total, aspects["format"] = total + self.format_weight * said["format"].values, said["format"].values
        return accurate.with_values(total, **aspects)

    def state(self) -> dict[str, Tensor]:
        return states_of(self.parts)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_states_of(self.parts, state)
