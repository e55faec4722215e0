"""Reward backprop: a differentiable reward's gradient flows through the decoder and the last denoising steps into the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from accord.algorithms.base import PolicyAlgorithm
from accord.engine import Loss, Mean, Rows, Step, derive, generator
from accord.errors import ConfigError, RewardError, one_of
from accord.feedback import Record
from accord.policies.base import Prompt
from accord.rewards import Reward, score
from accord.rewards.reward import name_of, reward_columns


@dataclass(frozen=True)
class Asked:
    """Prompts with the seed of each one's noise, and which steps of this update carry gradient."""

    prompts: list[Prompt]
    seeds: list[int]
    grad: int | list[int]
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
        grad: the last so many steps carry gradient; "random" draws their number for each update, from 1 to all;
            "per-step" keeps step i of K with probability (i + 1) / (K + 1), and the last in any case, where a dropped
            step's prediction is a constant, but the gradient passes it along the latent.
        stop: range of steps, first and last, from which each update draws where to stop and decode the predicted
            picture; None denoises to the end.
        recompute: trade compute for memory; see `DiffusionPolicy.denoise_with_grad`.
    """

    rows = (Record, str, list)

    def __init__(self, policy: Any, reward: Reward, *, sampling: Any = None, grad: int | Literal["random", "per-step"] = 1,
                 stop: tuple[int, int] | None = None, recompute: bool = True) -> None:  # fmt: skip
        super().__init__(policy)
        self.reward, self.sampling, self.grad, self.stop = reward, sampling or policy.sampling_kind(), grad, stop
        self.recompute = recompute
        steps = self.sampling.steps
        if stop is not None and not 0 <= stop[0] <= stop[1] < steps:
            raise ConfigError(f"stop={stop} is no range within the {steps} steps 0 to {steps - 1}")
        if not isinstance(grad, int):
            one_of("grad", grad, "random", "per-step")
        elif not 1 <= grad <= (steps if stop is None else stop[0] + 1):
            raise ConfigError(f"grad={grad} steps can't carry gradient: at least 1, at most those that run ({steps})")

    def experience(self, batch: Rows, step: Step) -> Asked:
        g = generator(step.seed, step.number, purpose="backprop")
        stop = None if self.stop is None else int(torch.randint(self.stop[0], self.stop[1] + 1, (1,), generator=g))
        run = self.sampling.steps if stop is None else stop + 1
        grad: int | list[int]
        if self.grad == "random":
            grad = int(torch.randint(1, run + 1, (1,), generator=g))
        elif self.grad == "per-step":
            grad = kept_steps(run, g)
        else:
            grad = self.grad
        rows = step.seeds(len(batch), purpose="picture").rows
        seeds = [derive(step.seed, step.number, 0, row, purpose="picture") for row in rows]
        return Asked(
            [r.prompt if isinstance(r, Record) else r for r in batch], seeds, grad, stop, reward_columns(batch)
        )

    def forward(self, asked: Asked) -> Loss:
        pictures = self.policy.denoise_with_grad(asked.prompts, self.sampling, grad=asked.grad, stop=asked.stop,
                                                 cut=self.grad != "per-step", seed=asked.seeds, recompute=self.recompute)  # fmt: skip
        columns: dict[str, Any] = asked.context
        said = score(self.reward, prompts=asked.prompts, completions=pictures, **columns)
        if torch.is_grad_enabled() and not said.values.requires_grad:
            raise RewardError(
                f"reward {name_of(self.reward)} gives no gradient in the picture, so it can't be backpropagated: train on it with GRPO or RAFT"
            )
        values = said.values.masked_fill(~said.valid, 0.0)
        steps = asked.grad if isinstance(asked.grad, int) else len(asked.grad)
        metrics = {"reward": Mean.of(values, said.valid), "grad_steps": Mean(float(steps), 1.0)}
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


def AlignProp(policy: Any, reward: Reward, *, truncation: Literal["per-step", "random", "full"] | int = "per-step",
              **options: Any) -> RewardBackprop:  # fmt: skip
    """AlignProp (arXiv 2310.03739): through the whole chain, truncated at random.

    Args:
        truncation: "per-step" as the released code has it, from which the published numbers come; "random", one cut an
            update, as the paper has it; "full", or a fixed number of last steps.
    """
    steps = (options.get("sampling") or policy.sampling_kind()).steps
    if not isinstance(truncation, int):
        one_of("truncation", truncation, "per-step", "random", "full")
    grad: Any = steps if truncation == "full" else truncation
    return RewardBackprop(policy, reward, grad=grad, **options)


def kept_steps(steps: int, g: torch.Generator) -> list[int]:
    """Which steps keep their gradient in AlignProp's code: i where ``i >= m_i``, m_i uniform on 0 … K; the last always."""
    drawn = torch.randint(0, steps + 1, (steps,), generator=g)
    return sorted({*(torch.arange(steps) >= drawn).nonzero()[:, 0].tolist(), steps - 1})


def DRaFT(policy: Any, reward: Reward, *, k: int = 1, **options: Any) -> RewardBackprop:
    """DRaFT-K (arXiv 2309.17400): through the last k steps."""
    return RewardBackprop(policy, reward, grad=k, **options)
