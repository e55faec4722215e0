"""The one loop of denoising: where it may start, what hooks may do, which clean picture each step means."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ConfigError
from accord.policies.diffusion import (
    Blend,
    Condition,
    Denoising,
    DiffusionPolicy,
    Hold,
    Moment,
    Schedule,
    StepHook,
    denoise,
    invert,
    noised,
    renoise,
)
from tiny_pipelines import FAMILIES, contrast, picture, policy

PROMPTS = ["a red cat", "a person with a hat"]
SDE = Denoising(steps=5, guidance=3.0, eta=0.7)
LEFT = torch.cat([torch.ones(1, 8, 4), torch.zeros(1, 8, 4)], -1)


def walk(p: DiffusionPolicy, sampling: Denoising = SDE, *, prompts: list[str] = PROMPTS, **more: Any) -> list[Moment]:
    x = p.noise(len(prompts), 3)
    with torch.no_grad():
        return list(denoise(p, x, p.condition(prompts), p.schedule(sampling.steps), guidance=sampling.guidance, eta=sampling.eta,
                            seed=3, **more))  # fmt: skip


def ends(p: DiffusionPolicy, *hooks: StepHook, **more: Any) -> Tensor:
    return p.sample(PROMPTS, 1, SDE, seed=3, hooks=hooks, **more).actions.latents[:, -1]


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_is_the_loop_and_hooks_that_do_nothing_change_nothing(family: str) -> None:
    p = policy(family)
    drawn = p.sample(PROMPTS, 1, SDE, seed=3)
    steps, hooked = walk(p), walk(p, hooks=[StepHook(), StepHook()])
    assert torch.equal(torch.stack([steps[0].x, *(s.after for s in steps)], 1), drawn.actions.latents)
    assert all(torch.equal(a.after, b.after) for a, b in zip(steps, hooked, strict=True))
    pictures = [p.denoise_with_grad(PROMPTS, SDE, grad=2, hooks=hooks, seed=1) for hooks in ([], [StepHook()])]
    assert torch.equal(*pictures)


@given(family=st.sampled_from(FAMILIES), first=st.integers(0, 4), eta=st.sampled_from([0.0, 0.7, 1.0]))
@settings(max_examples=8, deadline=None)
def test_a_samples_own_latent_at_a_level_leads_to_the_samples_end(family: str, first: int, eta: float) -> None:
    p, sampling = policy(family), Denoising(5, 2.0, eta)
    whole = p.sample(PROMPTS, 1, sampling, seed=3)
    rest = p.sample(PROMPTS, 1, sampling, seed=3, first=first, start=whole.actions.latents[:, first])
    assert torch.equal(rest.actions.latents[:, first:], whole.actions.latents[:, first:])
    assert torch.equal(rest.logprobs[:, first:], whole.logprobs[:, first:])
    assert not rest.mask[:, :first].any()
    assert torch.allclose(p.logprobs(rest), whole.logprobs * rest.mask, rtol=1e-4, atol=1e-2)


def test_the_chain_with_gradient_starts_at_any_level_too() -> None:
    p, sampling = policy("sd"), Denoising(5, 2.0, 0.0)
    whole = p.sample(PROMPTS, 1, sampling, seed=3)
    start = whole.actions.latents[:, 2].requires_grad_()
    pictures = p.denoise_with_grad(PROMPTS, sampling, start=start, first=2, grad=3)
    assert torch.allclose(pictures.detach(), torch.stack(whole.completions), atol=1e-5)
    (slope,) = torch.autograd.grad(contrast(prompts=None, completions=pictures).sum(), start)
    assert bool(slope.any())
    for wrong in ({"first": 5, "start": start}, {"first": 2}, {"first": 3, "start": start, "stop": 2},
                  {"first": 2, "start": start, "grad": 4}):  # fmt: skip
        with pytest.raises(ConfigError):
            p.denoise_with_grad(PROMPTS, sampling, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_clean_estimate_is_where_a_path_into_pure_signal_ends(family: str) -> None:
    """Everywhere else it is where the mean of a step without noise would lead in one leap."""
    steps = walk(
        policy(family, **({} if family != "sd" else {"prediction_type": "v_prediction"})), Denoising(4, 2.0, 0.0)
    )
    for at in steps:
        a, s = float(at.schedule.alpha[at.number + 1]), float(at.schedule.sigma[at.number + 1])
        _, noise = at.schedule.split(at.x, at.output, at.number)
        assert torch.allclose(at.after, a * at.clean + s * noise, atol=1e-4)
        assert torch.equal(at.after, at.mean)
        assert at.std == 0
    if family == "sd3":  # the others' schedules end at the noise of their first trained level
        assert torch.allclose(steps[-1].clean, steps[-1].after, atol=1e-6)


@pytest.mark.parametrize("mask", [LEFT, torch.stack([LEFT, 1 - LEFT])], ids=["one for all", "one for each"])
def test_a_held_region_ends_as_the_given_picture_and_the_rest_fits_to_it(mask: Tensor) -> None:
    p = policy("sd")
    clean = p.pictures.latents([picture(0), picture(1)])
    path = noised(p, clean, SDE.steps, seed=2)
    assert torch.equal(path[:, 2], renoise(p, clean, SDE.steps, 3, seed=2))
    free, held = ends(p), ends(p, Hold(path, mask))
    assert torch.equal(mask * held, mask * clean)
    assert not torch.allclose((1 - mask) * held, (1 - mask) * free, atol=1e-3)
    assert torch.equal(ends(p, Hold(path, 0 * mask)), free)


def test_holding_a_sample_to_its_own_path_changes_nothing() -> None:
    p = policy("sd3")
    drawn = p.sample(PROMPTS, 1, SDE, seed=3)
    assert torch.allclose(ends(p, Hold(drawn.actions.latents, LEFT)), drawn.actions.latents[:, -1], atol=1e-5)


def test_blended_predictions_between_their_limits() -> None:
    p = policy("sdxl")
    other = ["a blue cat", "a hat"]
    here, there = p.condition(PROMPTS), p.condition(other)
    free, another = (walk(p, prompts=t)[-1].after for t in (PROMPTS, other))
    assert torch.equal(ends(p, Blend(here, 0.6)), free)
    assert torch.equal(ends(p, Blend(there, 0.0)), free)
    assert torch.allclose(ends(p, Blend(there, 1.0)), another, atol=1e-4)
    assert torch.equal(ends(p, Blend(there, 1.0, steps=())), free)
    mixed = walk(p, hooks=[Blend(there, LEFT)])[0].output
    alone = walk(p, prompts=other)[0].output
    assert torch.allclose(LEFT * mixed, LEFT * alone, atol=1e-5)
    assert torch.equal((1 - LEFT) * mixed, (1 - LEFT) * walk(p)[0].output)


class Later(StepHook):
    """Another prompt from a step on."""

    def __init__(self, other: Condition, first: int) -> None:
        self.other, self.first = other, first

    def condition(self, at: Moment, condition: Condition) -> Condition:
        return condition if at.number < self.first else self.other


def test_a_changed_condition_is_another_prompt_from_there_on() -> None:
    p, other = policy("sd"), ["a blue cat", "a hat"]
    path = p.sample(PROMPTS, 1, SDE, seed=3).actions.latents
    wanted = p.sample(other, 1, SDE, seed=3, first=2, start=path[:, 2]).actions.latents[:, -1]
    assert torch.equal(ends(p, Later(p.condition(other), 2)), wanted)


def test_gradient_passes_a_blend_with_or_without_keeping_activations() -> None:
    p = policy("sd", lora=2)
    weights = [w for w in p.parameters() if w.requires_grad]
    found = []
    for recompute in (True, False):
        hooks = [Blend(p.condition(["a hat"] * 2), 0.5), Hold(torch.zeros(2, 4, 4, 8, 8), LEFT)]
        pictures = p.denoise_with_grad(PROMPTS, Denoising(3, 1.0, 0.5), grad=2, hooks=hooks, recompute=recompute)
        slopes = torch.autograd.grad(contrast(prompts=None, completions=pictures).sum(), weights)
        found.append(torch.cat([g.flatten() for g in slopes]))
    assert bool(found[0].any())
    assert torch.allclose(*found, rtol=1e-3, atol=1e-7)


def test_steps_that_a_hook_may_have_changed_are_no_actions() -> None:
    assert not policy("sd").sample(PROMPTS, 1, SDE, hooks=[StepHook()]).mask.any()


def test_a_spread_for_each_step() -> None:
    p = policy("sd")
    etas = (0.0, 1.0, 0.3, 0.0, 0.5)
    same, each = (walk(p, Denoising(5, 1.0, eta)) for eta in (0.5, etas))
    schedule = p.schedule(5)
    assert [s.std for s in each] == pytest.approx([e * schedule.std(i, 1.0) for i, e in enumerate(etas)])
    assert all(torch.equal(a.x, b.x) for a, b in zip(walk(p, Denoising(5, 1.0, (0.5,) * 5)), same, strict=True))
    drawn = p.sample(PROMPTS, 1, Denoising(5, 2.0, etas))
    assert drawn.mask[0].tolist() == [False, True, True, False, True]
    assert torch.allclose(p.logprobs(drawn), drawn.logprobs, rtol=1e-4, atol=1e-2)
    Denoising(5, eta=list(etas)).check_trainable()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="eta > 0"):
        Denoising(2, eta=(0.0, 0.0)).check_trainable()
    for wrong in ((0.5, 0.5), (0.5, 2.0, 0.0, 0.0, 0.0)):
        with pytest.raises(ConfigError, match="eta"):
            Denoising(5, eta=wrong)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_at_given_timesteps(family: str) -> None:
    p = policy(family)
    spaced = p.schedule(5)
    given_ = p.schedule(spaced.timesteps.tolist())
    for name in ("timesteps", "alpha", "sigma"):
        assert torch.allclose(getattr(given_, name), getattr(spaced, name), atol=2e-3)
    own = Denoising(2, 1.0, 0.5, timesteps=(900.0, 300.0))
    drawn = p.sample(PROMPTS, 1, own)
    assert torch.equal(p.schedule((900.0, 300.0)).timesteps, torch.tensor([900.0, 300.0]))
    assert torch.allclose(p.logprobs(drawn), drawn.logprobs * drawn.mask, rtol=1e-4, atol=1e-2)
    pictures = p.denoise_with_grad(PROMPTS, replace(own, eta=0.0), grad=2, start=p.noise(2, 0))
    plain = p.sample(PROMPTS, 1, replace(own, eta=0.0), start=p.noise(2, 0))
    assert torch.allclose(pictures, torch.stack(plain.completions), atol=1e-5)
    for wrong in ((300.0, 900.0), (900.0,)):
        with pytest.raises(ConfigError, match="timesteps"):
            Denoising(2, timesteps=wrong)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_a_schedule_backwards_is_itself_twice_over_and_undoes_its_steps(predicts: Any) -> None:
    """A step down and the same step up with the same word of the denoiser lead back."""
    schedule: Schedule = policy("sd", prediction_type=predicts).schedule(6)
    back = schedule.backwards()
    assert torch.equal(back.backwards().alpha, schedule.alpha)
    clean, noise = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(2))
    for i in range(6):
        down = [schedule.alpha[i + k] * clean + schedule.sigma[i + k] * noise for k in (0, 1)]
        said = [schedule.target(clean, noise, schedule.alpha[i + k], schedule.sigma[i + k]) for k in (0, 1)]
        assert torch.allclose(schedule.step(down[0], said[0], i, 0.0)[0], down[1], atol=1e-4)
        assert torch.allclose(back.step(down[1], said[1], 5 - i, 0.0)[0], down[0], atol=1e-3)


def test_inversion_of_a_clean_latent_whose_noise_is_unknown_is_finite() -> None:
    p = policy("sdxl", prediction_type="sample", set_alpha_to_one=True)
    clean = p.pictures.latents([picture(0), picture(1)])
    assert bool(invert(p, clean, PROMPTS, steps=3).isfinite().all())


def test_nobody_wakes_dropout() -> None:
    p = policy("sd").train()
    p.add_lora(2)
    assert not any(m.training for m in p.train().modules())
