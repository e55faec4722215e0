"""DDPO and RLCM: statistics of prompts, the densities of a consistency model's steps, and what their gradient leaves out."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler
from torch import Tensor

from accord.algorithms import DDPO, RLCM, PerPrompt
from accord.engine import Rows, Step
from accord.errors import ConfigError
from accord.policies.base import Rollouts
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.rewards import Scores
from tiny_pipelines import brightness, pipeline, policy

PROMPTS = ["a red cat", "a person"]
SDE = Denoising(steps=3, guidance=2.0, eta=1.0)


def consistency() -> DiffusionPolicy:
    pipe = pipeline("sd")
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return DiffusionPolicy(pipe, "lcm").eval()


def scored(values: list[float], prompts: list[str]) -> tuple[Scores, Rollouts]:
    n = len(values)
    rollouts = Rollouts(prompts, torch.arange(n), [None] * n, torch.ones(n, 2, dtype=torch.bool), torch.zeros(n, 2),
                        torch.ones(n, dtype=torch.bool), None)  # fmt: skip
    return Scores.of(torch.tensor(values)), rollouts


def test_statistics_of_each_prompt() -> None:
    assert not PerPrompt(min_count=2)(*scored([0.7] * 4, ["a"] * 4))[0].advantage.any()
    values = [0.1, 0.5, 0.9, 0.3]
    plain = PerPrompt(min_count=2)(*scored(values, ["a", "a", "b", "b"]))[0].advantage
    other = PerPrompt(min_count=2)(*scored([3 * v - 7 for v in values], ["a", "a", "b", "b"]))[0].advantage
    assert torch.allclose(plain, other, atol=1e-3)
    assert torch.allclose(plain[:, 0], torch.tensor([-1.0, 1.0, 1.0, -1.0]), atol=1e-3)
    # Few rewards of a prompt: the batch's statistics.
    x = torch.tensor(values)
    few = PerPrompt()(*scored(values, ["a", "b", "c", "d"]))[0].advantage[:, 0]
    assert torch.allclose(few, (x - x.mean()) / x.std(correction=0), atol=1e-3)
    with pytest.raises(ConfigError, match="min_count <= buffer"):
        PerPrompt(buffer=4, min_count=8)


def test_statistics_forget_and_survive_a_checkpoint() -> None:
    credit = PerPrompt(buffer=3, min_count=2)
    for v in (1.0, 2.0, 3.0, 4.0):
        credit(*scored([v], ["a"]))
    assert list(credit.seen["a"]) == [2.0, 3.0, 4.0]
    again = PerPrompt(buffer=3, min_count=2)
    again.load_state(credit.state())
    assert again.seen == credit.seen
    p = policy()
    algorithm = DDPO(p, brightness, sampling=SDE, buffer=4, min_count=2)
    algorithm.experience(Rows(PROMPTS), Step(0, 0))
    fresh = DDPO(p, brightness, sampling=SDE, buffer=4, min_count=2)
    fresh.load_state(algorithm.state())
    assert fresh.credit.seen == algorithm.credit.seen  # type: ignore[attr-defined]


def test_rlcm_steps_are_the_consistency_models_own_gaussians() -> None:
    """The density is Normal(sqrt(bar') f, sqrt(1 - bar')); the last prediction is no action; averages are sums over D."""
    p = consistency()
    options = Denoising(steps=3, guidance=1.0)
    drawn = p.sample(PROMPTS, 2, options, seed=1)
    schedule, condition = p.schedule(3), p.condition(drawn.prompt_of_each())
    assert drawn.mask.tolist() == [[True, True, False]] * 4
    x = drawn.actions.latents
    for i in range(2):
        f = schedule.picture(x[:, i], p.predict(x[:, i], float(schedule.timesteps[i]), condition), i)
        bar = schedule.alpha[i + 1] ** 2
        normal = torch.distributions.Normal(bar.sqrt() * f, (1 - bar).sqrt())
        assert torch.allclose(
            normal.log_prob(x[:, i + 1]).flatten(1).sum(1), drawn.logprobs[:, i], rtol=1e-4, atol=1e-2
        )
    last = schedule.picture(x[:, 2], p.predict(x[:, 2], float(schedule.timesteps[2]), condition), 2)
    assert torch.allclose(x[:, 3], last, atol=1e-5)
    mean = p.sample(PROMPTS, 2, replace(options, average=True), seed=1)
    assert torch.allclose(mean.logprobs * x[0, 0].numel(), drawn.logprobs, rtol=1e-4, atol=1e-2)


def test_rlcm_starts_at_ratio_one_with_the_score_gradient() -> None:
    p = consistency()
    algorithm = RLCM(p, brightness, sampling=Denoising(steps=3, guidance=1.0, average=True), group_size=2)
    experience = algorithm.experience(Rows(PROMPTS), Step(0, 0))
    rollouts, term = experience.rollouts, experience.terms[0]
    weights = [w for w in p.denoiser.parameters() if w.ndim == 2]
    wanted = (-term.advantage * term.weight * p.logprobs(rollouts)).sum()
    found, score = (torch.autograd.grad(v, weights, allow_unused=True) for v in (algorithm(experience).sum, wanted))
    assert any(g is not None for g in score)
    for a, b in zip(found, score, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-3, atol=1e-7)


def test_consistency_boundary() -> None:
    schedule = consistency().schedule(4)
    x, output = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    clean = replace(schedule, timesteps=torch.zeros_like(schedule.timesteps)).picture(x, output, 0)
    assert torch.equal(clean, x)
    skip = 0.25 / ((schedule.timesteps * 10) ** 2 + 0.25)
    assert float(skip.max()) < 0.003


def test_rlcm_wants_a_consistency_model_and_more_than_one_step() -> None:
    with pytest.raises(ConfigError, match="LCM scheduler"):
        RLCM(policy(), brightness)
    with pytest.raises(ConfigError, match="no stochastic action"):
        RLCM(consistency(), brightness, sampling=Denoising(steps=1, guidance=1.0))


class Line(torch.nn.Module):
    """The denoiser whose prediction of the picture is ``theta x``."""

    def __init__(self, p: DiffusionPolicy, theta: float) -> None:
        super().__init__()
        self.config, self.bar = p.denoiser.config, p.pipeline.scheduler.alphas_cumprod
        self.theta = torch.nn.Parameter(torch.tensor(theta))

    def forward(self, sample: Tensor, timestep: Tensor, **condition: Any) -> tuple[Tensor]:
        a2 = self.bar[timestep.long()][:, None, None, None]
        return ((sample - a2.sqrt() * self.theta * sample) / (1 - a2).sqrt(),)


class Plain(torch.nn.Module):
    """Latents are the pictures."""

    part = 16

    def decode(self, latents: Tensor) -> Tensor:
        return latents


def test_what_policy_gradient_leaves_out_is_the_last_map() -> None:
    """f(x) = theta x in two steps, R = -(f - 2)^2: the score part is -2 theta^3 a^2, and with the last map's own gradient the whole."""
    p = consistency()
    p.denoiser, p.pictures = Line(p, 0.7), Plain()  # type: ignore[assignment]
    options, n = Denoising(steps=2, guidance=1.0), 24_000
    theta, a, s = 0.7, float(p.schedule(2).alpha[1]), float(p.schedule(2).sigma[1])

    def gradient(value: Tensor) -> float:
        return float(torch.autograd.grad(value, p.denoiser.theta, retain_graph=True)[0])

    def reward(x: Tensor) -> Tensor:
        return -(x - 2).square().flatten(1).mean(1)

    drawn = p.sample(["a cat"], n, options, seed=0)
    r = reward(torch.stack(drawn.completions))
    of_each = ((r - r.mean())[:, None] * p.logprobs(drawn) * drawn.mask).sum(1)
    parts = [gradient(part.mean()) for part in of_each.split(n // 40)]
    score, error = float(torch.tensor(parts).mean()), float(torch.tensor(parts).std()) / 40**0.5
    direct, whole = (
        gradient(reward(p.denoise_with_grad(["a cat"] * 500, options, grad=k, recompute=False)).mean()) for k in (1, 2)
    )
    assert error < 0.1 * 2 * theta**3 * a**2
    assert abs(score + 2 * theta**3 * a**2) < 4 * error
    assert direct == pytest.approx(-2 * theta**3 * a**2 - 2 * theta * s**2, rel=0.02)
    assert whole == pytest.approx(-4 * theta**3 * a**2 - 2 * theta * s**2, rel=0.02)
    assert abs(score + direct - whole) < 4 * error + 0.02 * abs(whole)
