"""Reward backprop: a differentiable reward's gradient flows through the decoder and the last denoising steps into the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from accord.algorithms.base import PolicyAlgorithm, columns_of
from accord.engine import Loss, Mean, Rows, Step, derive, generator
from accord.errors import ConfigError, RewardError
from accord.feedback import Record
from accord.policies.base import Prompt
from accord.rewards import Reward, score
from accord.rewards.reward import name_of


@dataclass(frozen=True)
class Asked:
    """Prompts with the seed of each one's noise, and which steps of this update carry gradient."""

    prompts: list[Prompt]
    seeds: list[int]
    grad: int
    stop: int | None
    context: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.prompts)

    def select(self, rows: Sequence[int]) -> "Asked":
        return Asked([self.prompts[i] for i in rows], [self.seeds[i] for i in rows], self.grad, self.stop,
                     {k: [v[i] for i in rows] for k, v in self.context.items()})  # fmt: skip


class RewardBackprop(PolicyAlgorithm):
    """``max E[r(x_0)]`` by the reward's own gradient, cut off before the steps that carry it.

    Args:
        reward: differentiable in the pictures; its values must keep their graph.
        sampling: as the policy knows it.
        grad: the last so many steps carry gradient; "random" draws their number for each update, from 1 to all.
        stop: range of steps, first and last, from which each update draws where to stop and decode the predicted
            picture; None denoises to the end.
        recompute: trade compute for memory; see `DiffusionPolicy.denoise_with_grad`.
    """

    def __init__(self, policy: Any, reward: Reward, *, sampling: Any = None, grad: int | Literal["random"] = 1,
                 stop: tuple[int, int] | None = None, recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy)
        self.reward, self.sampling, self.grad, self.stop = reward, sampling or policy.sampling_kind(), grad, stop
        self.recompute = recompute
        steps = self.sampling.steps
        if stop is not None and not 0 <= stop[0] <= stop[1] < steps:
            raise ConfigError(f"stop={stop} is no range within the {steps} steps 0 to {steps - 1}")
        if isinstance(grad, int) and not 1 <= grad <= (steps if stop is None else stop[0] + 1):
            raise ConfigError(f"grad={grad} steps can't carry gradient: at least 1, at most those that run ({steps})")

    def experience(self, batch: Rows, step: Step) -> Asked:
        g = generator(step.seed, step.number, purpose="backprop")
        stop = None if self.stop is None else int(torch.randint(self.stop[0], self.stop[1] + 1, (1,), generator=g))
        run = self.sampling.steps if stop is None else stop + 1
        grad = int(torch.randint(1, run + 1, (1,), generator=g)) if self.grad == "random" else self.grad
        seeds = [derive(step.seed, step.number, step.rank, i, purpose="picture") for i in range(len(batch))]
        return Asked([r.prompt if isinstance(r, Record) else r for r in batch], seeds, grad, stop, columns_of(batch))

    def forward(self, asked: Asked) -> Loss:
        pictures = self.policy.denoise_with_grad(asked.prompts, self.sampling, grad=asked.grad, stop=asked.stop,
                                                 seed=asked.seeds, recompute=self.recompute)  # fmt: skip
        columns: dict[str, Any] = asked.context
        said = score(self.reward, prompts=asked.prompts, completions=pictures, **columns)
        if torch.is_grad_enabled() and not said.values.requires_grad:
            raise RewardError(
                f"reward {name_of(self.reward)} gives no gradient in the picture, so it can't be backpropagated: train on it with GRPO or RAFT"
            )
        values = said.values.masked_fill(~said.valid, 0.0)
        metrics = {"reward": Mean.of(values, said.valid), "grad_steps": Mean(float(asked.grad), 1.0)}
        metrics |= {f"reward/{name}": Mean.of(v, said.valid) for name, v in said.aspects.items()}
        return Loss(-values.sum(), float(said.valid.sum()), metrics)


def ReFL(policy: Any, reward: Reward, *, last: int = 10, **options: Any) -> RewardBackprop:
    """Reward feedback learning (arXiv 2304.05977): stop at a random one of the last steps, one step of gradient into its predicted picture."""
    sampling = options.pop("sampling", None) or policy.sampling_kind()
    if not 1 <= last <= sampling.steps:
        raise ConfigError(f"last={last} of {sampling.steps} steps: at least 1, at most all")
    return RewardBackprop(
        policy, reward, sampling=sampling, stop=(sampling.steps - last, sampling.steps - 1), **options
    )


def AlignProp(policy: Any, reward: Reward, **options: Any) -> RewardBackprop:
    """AlignProp (arXiv 2310.03739): through the whole chain, cut at a random step."""
    return RewardBackprop(policy, reward, grad="random", **options)


def DRaFT(policy: Any, reward: Reward, *, k: int = 1, **options: Any) -> RewardBackprop:
    """DRaFT-K (arXiv 2309.17400): through the last k steps."""
    return RewardBackprop(policy, reward, grad=k, **options)
