"""Combinations: any shape of a reward, with any credit, on answers in words and on pictures."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from accord import rewards
from accord.algorithms import (
    BestOfGroup,
    Credit,
    GroupRelative,
    LeaveOneOut,
    PerPrompt,
    RewardDifference,
    StepPreference,
    TokenGAE,
)
from accord.feedback import prompt_key
from accord.policies import Rollouts, Sampling
from accord.policies.diffusion import Denoising
from accord.rewards import References, Reward, Scores
from accord.rewards.reward import score_drawn
from accord.worlds import letters
from conftest import tiny_policy
from tiny_pipelines import brightness
from tiny_pipelines import policy as tiny_pictures


def length(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [len(c) / 50 for c in completions]


@cache
def drawn(world: str) -> tuple[Rollouts, Any, Reward]:
    """Two prompts with three samples each, all of which a reference and a critic have seen."""
    if world == "words":
        policy: Any = tiny_policy()
        asked = [t.prompt for t in letters.tasks(2, seed=1)]
        made = policy.sample(asked, 3, Sampling(max_new_tokens=6), seed=1)
        reward: Reward = length
    else:
        policy, reward = tiny_pictures("sd"), brightness
        made = policy.sample(["a red cat", "a hat"], 3, Denoising(steps=2, guidance=1.0, eta=1.0), seed=1)
    g = torch.Generator().manual_seed(0)
    before = made.logprobs + 0.1 * torch.randn(made.logprobs.shape, generator=g) * made.mask
    return (
        replace(made, reference=before, values=torch.zeros_like(made.logprobs), context={"anchor": made.completions}),
        policy,
        reward,
    )


def base(world: str) -> References:
    return References({prompt_key(p): torch.tensor([0.1, 0.4, 0.6]) for p in drawn(world)[0].prompts})


SHAPES: dict[str, Callable[[Reward, References], Reward]] = {
    "raw": lambda r, base: r,
    "par": rewards.par,
    "logsigmoid": rewards.logsigmoid_centred,
    "ceil": lambda r, base: rewards.ceil(r, 0.9),
    "clip": lambda r, base: rewards.clip(r),
    "minmax": lambda r, base: rewards.minmax(r),
    "running": lambda r, base: rewards.standardise(r),
    "anchored": lambda r, base: rewards.Anchored(r),
    "ensemble": lambda r, base: rewards.Ensemble([r, r], "mean-std"),
    "sum": lambda r, base: rewards.combine({"a": r, "b": rewards.par(r, base)}),
    "harmonic": lambda r, base: rewards.combine({"a": rewards.par(r, base), "b": rewards.par(r, base)}, "harmonic"),
}
CREDITS: dict[str, Callable[[], Credit]] = {
    "grpo": lambda: GroupRelative(kl=0.1),
    "dr-grpo": lambda: GroupRelative(scale=False, normalise="budget"),
    "rloo": LeaveOneOut,
    "raft": BestOfGroup,
    "ppo": TokenGAE,
    "ddpo": lambda: PerPrompt(min_count=2),
    "d3po": StepPreference,
    "prdp": RewardDifference,
}


@cache
def said(world: str, shape: str) -> Scores:
    rollouts, policy, reward = drawn(world)
    return score_drawn(SHAPES[shape](reward, base(world)), rollouts, policy).detach()


@pytest.mark.parametrize("world", ["words", "pictures"])
@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_goes_with_any_credit_in_any_world(shape: str, credit: str, world: str) -> None:
    """The terms have a finite loss, a gradient at the policy's own steps alone, and don't see a prompt's other prompts' order."""
    rollouts, scores = drawn(world)[0], said(world, shape)
    assert len(set(scores.values.tolist())) > 1, "the shape keeps samples apart"
    logprobs, total = rollouts.logprobs.clone().requires_grad_(), torch.zeros(())
    for term in CREDITS[credit]()(scores, rollouts):
        if term.of == "logprobs":
            each = term.surrogate(logprobs, rollouts, term.advantage)
            total = total + (each * term.weight).masked_fill(term.weight == 0, 0.0).sum()
    assert torch.isfinite(total)
    slope = torch.autograd.grad(total, logprobs)[0]
    assert torch.isfinite(slope).all()
    assert slope[rollouts.mask].abs().sum() > 0
    assert not slope[~rollouts.mask].any()
