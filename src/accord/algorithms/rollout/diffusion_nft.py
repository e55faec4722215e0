"""DiffusionNFT: what pictures are worth, learned on the way from picture to noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms.base import PolicyAlgorithm
from accord.algorithms.rollout.credit import group_mean, group_std
from accord.elsewhere import filled
from accord.engine import Loss, Mean, Rows, Step
from accord.engine.batch import Batch
from accord.errors import ConfigError
from accord.feedback import Record, prompt_of
from accord.policies.base import Group
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward
from accord.rewards.combine import reward_of
from accord.rewards.reward import load_state_of, reward_columns, score_drawn, state_of


@dataclass(frozen=True)
class Worth(Batch):
    """Drawn pictures at a level each, and how good they are.

    Attributes:
        old: what the policy that drew them says there. good: how probably each is a good one. counts: 1, or 0 for one that is
            here alone as no reward applies to any.
    """

    groups: list[Group]
    draw: Any
    old: Float[Tensor, "n c *places"]
    good: Float[Tensor, "n"]
    counts: Float[Tensor, "n"]


class DiffusionNFT(PolicyAlgorithm):
    """``r |v+ - v|^2 + (1 - r) |v- - v|^2`` with ``v+- = v_old +- beta (v_theta - v_old)``: negative-aware fine-tuning on the forward
    process (Zheng et al. 2025, arXiv 2509.16117).

    v is what the denoiser should say of a drawn picture with fresh noise in it, v_old what the policy that drew it says, and
    ``r = 1/2 + clip(A, -1, 1) / 2`` of the group's advantage. Steps need no density: any sampler may draw, without noise of its
    own. Training is without guidance, and so is drawing unless told otherwise (the paper's); what guidance adds to pictures is
    then learned. Denoisers that are told of guidance train at that of drawing. The old policy is the one before the update (the
    paper's decay of 0); the square is a plain mean (the paper's first loss, without its weights for levels).

    Args:
        reward: any.
        beta: > 0; how far v- mirrors v+.
        scale: divide the advantage by the group's standard deviation; else 1 is one of the reward's units.
        levels: at so many levels each picture is looked at.
        group_size: pictures of each prompt, at least 2.
        sampling: how they are drawn, or a dict of what differs from 10 steps without noise and guidance.
        score_batch_size: score so many pictures at a time; None all at once.
    """

    rows = (Record, str, list)

    def __init__(self, policy: Differentiable, reward: Reward, *, beta: float = 1.0, scale: bool = True, levels: int = 4, group_size: int = 8,
                 sampling: Denoising | Mapping[str, Any] | None = None, score_batch_size: int | None = None) -> None:  # fmt: skip
        super().__init__(policy)
        if beta <= 0 or levels < 1 or group_size < 2:
            raise ConfigError(f"negative-aware fine-tuning wants beta > 0, levels >= 1 and group_size >= 2, but got {beta}, {levels} and {group_size}")  # fmt: skip
        if score_batch_size is not None and score_batch_size < 1:
            raise ConfigError(f"score_batch_size must be at least 1, but is {score_batch_size}")
        self.reward, self.beta, self.scale, self.levels, self.group_size = (
            reward_of(reward),
            beta,
            scale,
            levels,
            group_size,
        )
        self.sampling = filled(Denoising(steps=10, guidance=1.0, eta=0.0), sampling, "sampling")
        self.score_batch_size = score_batch_size

    @torch.no_grad()
    def experience(self, batch: Rows, step: Step) -> Worth:
        prompts = [prompt_of(r) for r in batch]
        drawn = self.policy.sample(prompts, self.group_size, self.sampling, seed=step.seeds(len(prompts), purpose="rollout"),
                                   context=reward_columns(batch))  # fmt: skip
        said = score_drawn(self.reward, drawn, self.policy, batch_size=self.score_batch_size).to(torch.device("cpu"))
        step.log("reward", said.values, said.valid)
        advantage = said.values - group_mean(said.values, drawn.group, said.valid)
        if self.scale:
            advantage = advantage / (group_std(said.values, drawn.group, said.valid) + 1e-4)
        advantage = advantage.masked_fill(~said.valid, 0.0)
        # Where nothing counts there is still a (weightless) loss to be had.
        counted = [i for i in said.valid.nonzero()[:, 0].tolist() or [0] for _ in range(self.levels)]
        asked, latents = drawn.prompt_of_each(), drawn.actions.latents[:, -1]
        groups = [Group(asked[i], (latents[i],)) for i in counted]
        draw = self.drawn(groups, step)
        parts = torch.arange(len(groups)).split(self.policy.part)
        old = [self.denoised([groups[i] for i in some.tolist()], draw.select(some))[0].cpu() for some in parts]
        good = 0.5 + 0.5 * advantage[counted].clamp(-1, 1)
        return Worth(groups, draw, torch.cat(old), good, said.valid[counted].float())

    def denoised(self, groups: list[Group], draw: Any) -> Any:
        """What the policy says at a draw, told of the guidance of drawing, and what it should say."""
        return self.policy.denoised(groups, draw, self.sampling.guidance)

    def forward(self, drawn: Worth) -> Loss:
        now, right = self.denoised(drawn.groups, drawn.draw)
        old, good, counts = (x.to(now.device) for x in (drawn.old, drawn.good, drawn.counts))
        ahead = self.beta * (now - old)
        towards, away = ((old + sign * ahead - right).square().flatten(1).mean(1) for sign in (1, -1))
        each = (good * towards + (1 - good) * away) * counts
        error = (now - right).square().flatten(1).mean(1).detach()
        return Loss(each.sum(), float(drawn.counts.sum()), {"error": Mean.of(error, counts > 0)})

    def state(self) -> dict[str, Tensor]:
        return state_of(self.reward)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_state_of(self.reward, state)
