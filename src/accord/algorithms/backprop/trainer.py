"""Reward backprop: a differentiable reward's gradient flows through the decoder and some of the denoising steps into the policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from accord.algorithms.backprop.truncation import Carried, Truncation, last, truncation_of
from accord.algorithms.base import PolicyAlgorithm
from accord.elsewhere import filled
from accord.engine import Loss, Mean, Rows, Step, derive, generator
from accord.engine.batch import Batch, Whole
from accord.errors import RewardError
from accord.feedback import Record, prompt_of
from accord.policies.base import Prompt
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward, score
from accord.rewards.combine import reward_of
from accord.rewards.reward import name_of, reward_columns


@dataclass(frozen=True)
class Asked(Batch):
    """Prompts with the seed of each one's noise, and which steps of this update carry gradient."""

    prompts: list[Prompt]
    seeds: list[int]
    carried: Whole[Carried]
    context: dict[str, list[Any]]


class RewardBackprop(PolicyAlgorithm):
    """``max E[r(x_0)]`` by the reward's own gradient, along the steps that carry it.

    Args:
        truncation: which steps carry gradient, drawn for each update; see `accord.algorithms.backprop.truncation`.
        reward: differentiable in the pictures; its values must keep their graph.
        sampling: how pictures are drawn; None as the policy does by itself.
        recompute: trade compute for memory; see `DiffusionPolicy.denoise_with_grad`.
    """

    rows = (Record, str, list)

    def __init__(self, policy: Differentiable, reward: Reward, *, truncation: Truncation | str = last(1),
                 sampling: Denoising | Mapping[str, Any] | None = None, recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy)
        self.reward, self.recompute = reward_of(reward), recompute
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")
        self.truncation = truncation_of(truncation)
        self.truncation(self.sampling.steps, torch.Generator())  # refuses what doesn't fit

    def experience(self, batch: Rows, step: Step) -> Asked:
        carried = self.truncation(self.sampling.steps, generator(step.seed, step.number, purpose="backprop"))
        rows = step.seeds(len(batch), purpose="picture").rows
        seeds = [derive(step.seed, step.number, 0, row, purpose="picture") for row in rows]
        return Asked([prompt_of(r) for r in batch], seeds, carried, reward_columns(batch))

    def forward(self, asked: Asked) -> Loss:
        carried, columns = asked.carried, asked.context
        pictures = self.policy.denoise_with_grad(asked.prompts, self.sampling, grad=carried.steps, stop=carried.stop, cut=carried.cut,
                                                 seed=asked.seeds, recompute=self.recompute)  # fmt: skip
        said = score(self.reward, prompts=asked.prompts, completions=pictures, **columns)  # type: ignore[arg-type]
        if torch.is_grad_enabled() and not said.values.requires_grad:
            raise RewardError(
                f"reward {name_of(self.reward)} gives no gradient in the picture, so it can't be backpropagated: train on it with GRPO or RAFT"
            )
        values = said.values.masked_fill(~said.valid, 0.0)
        metrics = {"reward": Mean.of(values, said.valid), "grad_steps": Mean(float(len(carried.steps)), 1.0)}
        metrics |= {f"reward/{name}": Mean.of(v, said.valid) for name, v in said.aspects.items()}
        return Loss(-values.sum(), float(said.valid.sum()), metrics)
