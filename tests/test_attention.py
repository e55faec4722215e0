"""Attention hooks, the image adapter and inversion on tiny pipelines of each family."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.algorithms import Supervised
from accord.engine import fit
from accord.engine.seeds import generator
from accord.errors import ConfigError, ModelError
from accord.feedback import Example, pictures_of, prompt_key, text_of, with_picture
from accord.policies.base import Group
from accord.policies.diffusion import (
    AttentionHook,
    Capture,
    Denoising,
    DiffusionPolicy,
    InvertedDraw,
    Schedule,
    hooked,
    invert,
    renoise,
)
from accord.policies.diffusion.schedule import training_levels
from tiny_pipelines import FAMILIES, picture, pipeline, policy

PROMPTS = ["a person", "a red cat"]


def colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """A picture's mean colour as its vector."""
    return images.mean((2, 3)), torch.ones(len(images), dtype=torch.bool)


def predict(p: DiffusionPolicy, prompts: list[Any]) -> Tensor:
    return p.predict(p.noise(len(prompts), 3), 300.0, p.condition(prompts))


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_that_change_nothing_change_nothing(family: str) -> None:
    """With and without the explicit maps, ours equals diffusers' own attention; and it is gone afterwards."""
    p = policy(family)
    theirs = predict(p, PROMPTS)
    before = dict(p.denoiser.attn_processors)  # type: ignore[operator, arg-type]
    with hooked(p.denoiser, AttentionHook()):
        assert torch.allclose(predict(p, PROMPTS), theirs, atol=1e-6)
    with hooked(p.denoiser, Capture()):
        assert torch.allclose(predict(p, PROMPTS), theirs, atol=1e-5)
    assert dict(p.denoiser.attn_processors) == before  # type: ignore[operator, arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_captured_maps_are_the_attention_to_tokens(family: str) -> None:
    p, seen = policy(family), Capture()
    with hooked(p.denoiser, seen):
        predict(p, PROMPTS).sum().backward()
    assert seen.found
    for maps in seen.found.values():
        n, pixels, tokens = maps.shape
        assert n == 2
        words = p.condition(PROMPTS).tensors["encoder_hidden_states"].shape[1]
        assert tokens == (words + 255 if family == "sd3" else words)  # one blank stands for 256
        total = maps.sum(-1)
        if family == "sd3":  # joint attention shares its mass between pixels and tokens
            assert bool((total > 0).all() and (total < 1).all())
        else:
            assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
        assert maps.requires_grad
    side = round(math.sqrt(pixels))
    assert seen.of_tokens([0, 2], side).shape == (2, 2, side, side)
    with pytest.raises(ModelError, match="pixels was captured"):
        seen.of_tokens([0], 77)


def test_one_blank_stands_for_all_that_stable_diffusion_3_sees_without_its_largest_encoder() -> None:
    p = policy("sd3")
    x, condition = p.noise(2, 3), p.condition(PROMPTS)
    p.denoiser.double()
    said = {k: v.double() for k, v in condition.tensors.items()}
    words = said["encoder_hidden_states"]
    assert not words[:, -1].any()
    full = {**said, "encoder_hidden_states": torch.cat([words, words[:, -1:].expand(-1, 255, -1)], 1)}
    without = {**said, "encoder_hidden_states": words[:, :-1]}
    outs, grads = [], []
    for arguments in (said, full, without):
        p.denoiser.zero_grad()
        out = p.denoiser(x.double(), timestep=torch.tensor([500.0, 20.0]), return_dict=False, **arguments)[0]
        out.square().mean().backward()
        outs.append(out.detach())
        grads.append(torch.cat([w.grad.flatten() for w in p.denoiser.parameters() if w.grad is not None]))
    assert torch.allclose(outs[0], outs[1], atol=1e-9)
    assert torch.allclose(grads[0], grads[1], atol=1e-9)
    assert not torch.allclose(outs[2], outs[1], atol=1e-4)


def test_a_map_that_is_changed_changes_the_picture_where_it_says() -> None:
    """One row reading another's keys and values becomes that other in a layer that only sees the prompt."""

    class Swap(AttentionHook):
        def keys_values(self, layer: Any, keys: Tensor, values: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
            return (keys.flip(0), values.flip(0)) if layer.kind == "cross" else (keys, values)

    p = policy("sd")
    x = p.noise(1, 3).repeat(2, 1, 1, 1)
    plain = p.predict(x, 300.0, p.condition(PROMPTS))
    with hooked(p.denoiser, Swap()):
        swapped = p.predict(x, 300.0, p.condition(PROMPTS))
    assert not torch.allclose(plain[0], plain[1], atol=1e-5)
    assert torch.allclose(swapped, plain.flip(0), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_adapter_changes_nothing_and_a_trained_one_sees_the_picture(family: str) -> None:
    p = policy(family)
    plain = predict(p, PROMPTS)
    p.add_image_adapter(colours, 3, tokens=2)
    assert p.image_adapter is not None
    shown = [with_picture(PROMPTS[0], picture(0)), with_picture(PROMPTS[1], picture(1))]
    assert torch.allclose(predict(p, shown), plain, atol=1e-6)
    assert torch.allclose(predict(p, PROMPTS), plain, atol=1e-6)
    trained = {n for n, w in p.named_parameters() if w.requires_grad}
    assert trained
    assert all(n.startswith("image_adapter.") for n in trained)
    records = [Example(prompt=s, completion=picture(i)) for i, s in enumerate(shown)]
    reference = p.freeze("base")
    fit(Supervised(p), records, steps=4, batch_size=2, lr=0.05, progress=False)
    now, other = predict(p, shown), predict(p, [with_picture(PROMPTS[0], picture(1)), shown[1]])
    assert not torch.allclose(now, plain, atol=1e-5)
    assert not torch.allclose(now[0], other[0], atol=1e-6)
    assert torch.allclose(now[1], other[1], atol=1e-6)
    p.image_adapter.scale = 0.0
    assert torch.allclose(predict(p, shown), plain, atol=1e-6)
    # What was frozen before is not touched by training.
    groups = [Group(s, (picture(5),)) for s in shown]
    draw = p.draw(groups, 0)
    assert torch.allclose(reference.likelihood(groups, draw).policy, policy(family).likelihood(
        [Group(t, (picture(5),)) for t in PROMPTS], draw).policy, atol=1e-6)  # fmt: skip


def test_gradient_reaches_the_adapter_through_recomputation() -> None:
    p = policy("sd")
    p.add_image_adapter(colours, 3)
    assert p.image_adapter is not None
    torch.manual_seed(0)
    for w in p.image_adapter.values.parameters():
        torch.nn.init.normal_(w)
    prompts = [with_picture(t, picture(i)) for i, t in enumerate(PROMPTS)]
    weights = list(p.image_adapter.parameters())
    found = []
    for recompute in (True, False):
        out = p.denoise_with_grad(
            prompts, Denoising(steps=3, guidance=3.0, eta=0.0), grad=2, seed=1, recompute=recompute
        )
        found.append(torch.autograd.grad(out.square().sum(), weights))
    assert all(float(g.abs().max()) > 0 for g in found[0])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_diffusers_opens_a_saved_adapter_and_computes_the_same(tmp_path: Any) -> None:
    p = policy("sd")
    p.add_image_adapter(colours, 3, tokens=2)
    assert p.image_adapter is not None
    torch.manual_seed(1)
    for w in p.image_adapter.values.parameters():
        torch.nn.init.normal_(w, std=0.3)
    p.save(tmp_path)
    shown = [with_picture(t, picture(i)) for i, t in enumerate(PROMPTS)]
    ours = predict(p, shown)
    again = policy("sd")
    again.add_image_adapter(colours, 3, tokens=2, weights=tmp_path / "image_adapter.safetensors")
    assert torch.equal(predict(again, shown), ours)
    pipe = pipeline("sd")
    pipe.load_ip_adapter(
        str(tmp_path), subfolder="", weight_name="image_adapter.safetensors", image_encoder_folder=None
    )
    vectors = torch.stack([colours(picture(i)[None])[0] for i in range(2)])  # [n, 1, d]
    words = again.condition(PROMPTS).tensors["encoder_hidden_states"]
    with torch.no_grad():
        theirs = pipe.unet(p.noise(2, 3), 300.0, encoder_hidden_states=words, added_cond_kwargs={"image_embeds": [vectors[:, None]]}).sample  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-5)
    with pytest.raises(ModelError, match="holds no adapter"):
        fresh = policy("sd")
        fresh.add_image_adapter(colours, 3, tokens=3, weights=tmp_path / "image_adapter.safetensors")


def test_prompts_with_pictures() -> None:
    prompt = with_picture("a cat", "cat.png", picture(0))
    assert text_of(prompt) == "a cat"
    assert pictures_of(prompt)[0] == "cat.png"
    assert pictures_of("a cat") == []
    assert prompt_key(prompt) == prompt_key(with_picture("a cat", "cat.png", picture(0).clone()))
    assert prompt_key(prompt) != prompt_key(with_picture("a cat", "cat.png", picture(1)))
    with pytest.raises(ConfigError, match="can't see them"):
        policy("sd").condition([prompt])
    blind = policy("sd")
    blind.add_image_adapter(lambda x: (x.mean((2, 3)), torch.zeros(len(x), dtype=torch.bool)), 3)
    with pytest.raises(ConfigError, match="no face"):
        blind.condition([with_picture("a cat", picture(0))])


class Gaussian(torch.nn.Module):
    """The exact denoiser of latents ``N(0, s^2 I)``: ``eps = sigma x / (alpha^2 s^2 + sigma^2)``."""

    def __init__(self, p: DiffusionPolicy, s: float) -> None:
        super().__init__()
        self.config, self.s, self.bar = p.denoiser.config, s, p.pipeline.scheduler.alphas_cumprod
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, sample: Tensor, timestep: Tensor, **condition: Any) -> tuple[Tensor]:
        a2 = self.bar[timestep.long()][:, None, None, None]
        return ((1 - a2).sqrt() * sample / (a2 * self.s**2 + 1 - a2),)


def test_inversion_of_a_gaussian_is_exact_in_the_limit() -> None:
    """x_t -> x_0 sqrt(alpha^2 s^2 + sigma^2) / s, with an error of first order in the number of steps."""
    p = policy("sd", timestep_spacing="trailing")
    p.denoiser = Gaussian(p, 0.5)
    clean = 0.5 * p.noise(2, 1)
    errors = []
    for steps in (25, 50, 100, 200):
        schedule = Schedule.of(p.pipeline.scheduler, steps)
        a, s = float(schedule.alpha[0]), float(schedule.sigma[0])
        exact = clean * math.sqrt(a * a * 0.25 + s * s) / 0.5
        found = invert(p, clean, PROMPTS, steps=steps)
        errors.append(float((found - exact).norm() / exact.norm()))
    assert errors[-1] < 0.003
    assert errors[1] / errors[3] > 3


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_inverted_latents_sample_back(family: str) -> None:
    """Round trip: the more steps, the nearer; and undoing none gives the picture's own latent."""
    p = policy(family)
    if family == "sd":  # a random U-Net's path is chaotic at high noise
        p.denoiser = Gaussian(p, 0.5)
    clean = p.pictures.encode(torch.stack([picture(0), picture(1)]))
    assert torch.equal(invert(p, clean, PROMPTS, steps=4, to=torch.tensor([0, 0])), clean)
    gaps = []
    for steps in (10, 40, 160):
        noise = invert(p, clean, PROMPTS, steps=steps)
        back = p.sample(PROMPTS, 1, Denoising(steps=steps, guidance=1.0, eta=0.0), start=noise).actions.latents[:, -1]
        gaps.append(float((back - clean).norm() / clean.norm()))
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 0.3 * gaps[0]


def test_partial_renoising_keeps_what_is_left_to_run() -> None:
    p = policy("sd")
    clean = p.pictures.encode(torch.stack([picture(0), picture(1)]))
    schedule = p.schedule(10)
    there = renoise(p, clean, 10, 4, seed=2)
    rest = (there - float(schedule.alpha[6]) * clean) / float(schedule.sigma[6])
    assert torch.allclose(rest, p.noise(2, 2, purpose="renoise"), atol=1e-5)
    with pytest.raises(ConfigError, match="between 0 and 10"):
        renoise(p, clean, 10, 11)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inverted_draw_is_the_policys_own_path(family: str) -> None:
    """x_t of the draw is the inverted latent, so the likelihood equals the error at it; groups share their level."""
    p = policy(family)
    groups = [Group(t, (picture(2 * i), picture(2 * i + 1))) for i, t in enumerate(PROMPTS)]
    draw = InvertedDraw(levels=5, eta=0.0)(p, groups, seed=4)
    assert draw.noise.shape[:2] == (2, 2)
    assert not torch.allclose(draw.noise[:, 0], draw.noise[:, 1])
    again = InvertedDraw(levels=5, eta=0.0)(p, groups, seed=4)
    assert torch.equal(draw.noise, again.noise)
    assert torch.equal(draw.level, again.level)
    clean = p.pictures.latents([c for g in groups for c in g.completions])
    undo = torch.randint(1, 6, (2,), generator=generator(4, purpose="level"))
    there = invert(p, clean, [t for t in PROMPTS for _ in range(2)], steps=5, to=undo.repeat_interleave(2))
    level, noise = draw.of_each([2, 2])
    t, a, s = training_levels(p.pipeline.scheduler, level)
    assert torch.allclose(t, p.schedule(5).timesteps[5 - undo].repeat_interleave(2), atol=1.1)
    assert torch.allclose(a[:, None, None, None] * clean + s[:, None, None, None] * noise, there, atol=1e-4)
    # The likelihood sees it as a draw like any other, and no gradient enters the inversion.
    found = p.likelihood(groups, draw)
    assert found.policy.shape == (4,)
    assert found.policy.requires_grad
    assert not draw.noise.requires_grad
