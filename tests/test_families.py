"""Every family of pipelines, tiny and of the real classes: it draws what its pipeline draws, learns by every kind of method, and saves
what diffusers opens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMPipeline,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UNet2DModel,
)
from torch import Tensor

from accord import algorithms as a
from accord.engine import Rows, Step, fit
from accord.errors import ConfigError, ModelError, RewardError
from accord.feedback import Comparison, Example
from accord.policies.base import Group
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.policies.diffusion.families import FAMILIES
from accord.policies.diffusion.families.shifted import TRAINING
from accord.policies.diffusion.files import opened
from accord.rewards import Framewise, score
from accord.search import noise_optimise
from tiny_families import TINY, TWINS, WITHOUT_LORA, folder, picture, pipeline, policy
from tiny_pipelines import nudge

PROMPTS = ["a red cat", "a person with a hat"]
SDE, ODE = Denoising(steps=3, guidance=2.0, eta=1.0, average=True), Denoising(steps=2, guidance=2.0, eta=0.0)

families = pytest.mark.parametrize("family", TINY)


@families
def test_a_sample_is_what_the_pipeline_itself_makes_of_the_noise(family: str) -> None:
    p = policy(family)
    start = p.noise(2, 5)
    for guidance in (1.0, 3.0):
        ours = p.sample(PROMPTS, 1, Denoising(TINY[family].steps, guidance, eta=0.0), start=start)
        theirs = TINY[family].own(p, PROMPTS, guidance, start)
        assert torch.allclose(torch.stack(ours.completions), theirs, atol=1e-4)
        assert not torch.allclose(*ours.completions, atol=1e-2)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_turbo_draws_in_one_step_from_noise_without_a_bit_of_picture(family: str) -> None:
    pipe = pipeline(family)
    pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    p = DiffusionPolicy(pipe, family, size=TINY[family].size)
    ours = p.sample(PROMPTS, 1, Denoising(1, 1.0, eta=0.0), seed=5)
    noise = ours.actions.latents[:, 0] / p.schedule(1).start
    theirs = replace(TINY[family], steps=1).own(p, PROMPTS, 1.0, noise)
    assert torch.allclose(torch.stack(ours.completions), theirs, atol=1e-5)
    assert 0.99 < p.schedule(1).start < 1
    assert policy(family).schedule(1).start == 1


@families
def test_training_looks_at_the_levels_that_sampling_takes(family: str) -> None:
    schedule = policy(family).schedule(5)
    timestep, alpha, sigma = schedule.training(schedule.level_of(schedule.timesteps))
    assert torch.allclose(timestep, schedule.timesteps, atol=5.0)
    assert torch.allclose(alpha, schedule.alpha[:-1], atol=5e-3)
    assert torch.allclose(sigma, schedule.sigma[:-1], atol=5e-3)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("family", ["flux-dev", "flux-schnell", "flux2-klein", "qwen-image", "z-image"])
def test_levels_are_shifted_in_training_as_in_sampling(family: str, linear: bool) -> None:
    p, steps = policy(family), 5
    kind = "linear" if linear else "exponential"
    p.pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        p.pipeline.scheduler.config, time_shift_type=kind
    )
    # As many steps as those for which a shift counts that depends on them.
    schedule = p.schedule(TRAINING)
    places = torch.arange(0, TRAINING, TRAINING // steps)
    timestep, _, sigma = schedule.training(1 - places / TRAINING)
    if end := p.pipeline.scheduler.config.shift_terminal:  # the last level of sampling is stretched to it
        _, _, last = schedule.training(torch.tensor([1 / TRAINING]))
        timestep = 1000 * (1 - (1 - sigma) * (1 - end) / (1 - last))
    assert torch.allclose(timestep, schedule.timesteps[places], atol=2.0)


def test_a_shifted_family_says_which_scheduler_it_wants() -> None:
    p = policy("flux-dev")
    p.pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    with pytest.raises(ModelError, match="set a FlowMatchEulerDiscreteScheduler"):
        p.schedule(3)


@pytest.mark.parametrize("family", ["sd-lcm", "flux-dev"])
def test_denoisers_that_are_told_of_guidance_are_told_it_in_training_too(family: str) -> None:
    p = policy(family)
    groups = [Group(t, (p.noise(1, i)[0],)) for i, t in enumerate(PROMPTS)]
    draw = p.draw(groups, 0)
    schedule = p.schedule(2)
    (level, noise), clean = draw.of_each([1, 1]), torch.stack([g.completions[0] for g in groups])
    t, alpha, sigma = schedule.training(level)
    x = alpha.reshape(-1, 1, 1, 1) * clean + sigma.reshape(-1, 1, 1, 1) * noise
    at = {g: p.denoised(groups, draw, g)[0] for g in (1.0, 3.0)}
    for g, said in at.items():
        assert torch.allclose(said, p.predict(x, t, p.condition(PROMPTS), g), atol=1e-5)
    assert not torch.allclose(at[1.0], at[3.0], atol=1e-4)


def test_wan_of_5b_is_told_the_time_of_each_token() -> None:
    """All tokens of a clip are at one level: what it says is what it says of a clip's."""
    plain, tokens = policy("wan"), policy("wan")
    tokens.pipeline.register_to_config(expand_timesteps=True)
    x, condition = plain.noise(2, 0), plain.condition(PROMPTS)
    t = torch.tensor([300.0, 700.0])
    told = tokens.family.told(x, t, condition, 1.0)["timestep"]
    assert told.shape == (2, 1 * 4 * 4 * 2), "2 moments of 4 by 4 squares of two by two latents"
    assert torch.allclose(plain.predict(x, t, condition), tokens.predict(x, t, condition), atol=1e-5)


def test_wan_of_two_transformers_asks_the_one_for_much_noise_down_to_the_boundary_and_then_the_other() -> None:
    p, timesteps = policy("wan-two"), [900.0, 800.0, 799.0, 100.0]
    x, condition = p.noise(4, 0), p.condition([*PROMPTS, *PROMPTS])
    parts = [*p.denoisers.values()]
    assert parts == [p.pipeline.transformer, p.pipeline.transformer_2]
    alone = [
        parts[t < 800](x[i : i + 1], torch.tensor([t]), **condition.select([i]).tensors, return_dict=False)[0]
        for i, t in enumerate(timesteps)
    ]
    for order in ([0, 1, 2, 3], [3, 0, 2, 1], [0, 1], [3]):
        found = p.predict(x[order], torch.tensor(timesteps)[order], condition.select(order))
        assert torch.allclose(found, torch.cat([alone[i] for i in order]), atol=1e-5)


def test_wan_of_two_transformers_is_guided_by_a_scale_for_each() -> None:
    p = policy("wan-two")
    t = p.schedule(3).timesteps
    assert t[0] >= 800 > t[-1], "both have their turn"
    start, scales = p.noise(2, 5), (3.0, 1.5)
    ours = p.sample(PROMPTS, 1, {"steps": 3, "guidance": list(scales), "eta": 0.0}, start=start)
    assert torch.allclose(torch.stack(ours.completions), TINY["wan-two"].own(p, PROMPTS, scales, start), atol=1e-4)
    drawn = p.sample(PROMPTS, 1, Denoising(3, scales, 1.0), start=start)
    assert torch.allclose(p.logprobs(drawn), drawn.logprobs, rtol=1e-4)
    for name, wrong in (("wan", scales), ("wan-two", (3.0, 2.0, 1.0))):
        with pytest.raises(ConfigError, match="one number for each"):
            policy(name).sample(PROMPTS, 1, Denoising(3, wrong))
    with pytest.raises(ConfigError, match="guidance >= 1"):
        Denoising(3, (3.0, 0.5))


def test_no_process_waits_for_the_transformer_of_wan_that_had_no_turn(tmp_path: Path) -> None:
    p = policy("wan-two")
    x, condition = p.noise(1, 0), p.condition(PROMPTS[:1])
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'met'}", rank=0, world_size=1)
    try:
        shared = torch.nn.parallel.DistributedDataParallel(p.denoiser)
        for t in (900.0, 100.0, 900.0):
            told = p.family.told(x, torch.tensor([t]), condition, 1.0)
            p.zero_grad()
            shared(**told)[0].square().mean().backward()
            slopes = [sum(float(w.grad.abs().sum()) for w in part.parameters()) for part in p.denoisers.values()]
            assert [s > 0 for s in slopes] == [t == 900.0, t == 100.0]
    finally:
        torch.distributed.destroy_process_group()


def test_wan_is_refused_with_a_part_missing_or_adapted_alone() -> None:
    broken = pipeline("wan-two")
    broken.transformer_2 = None
    with pytest.raises(ModelError, match="load it whole"):
        DiffusionPolicy(broken, "wan")
    half = policy("wan-two", lora=2).pipeline
    half.transformer_2.delete_adapters("default")
    with pytest.raises(ModelError, match="none on its transformer_2"):
        DiffusionPolicy(half, "wan", size=(3, 16, 16))


@pytest.mark.parametrize("name", ["wan", "wan-two"])
def test_wan_in_half_precision_keeps_in_single_what_its_class_says(name: str) -> None:
    p = policy(name, lora=2)
    before = {n: w.clone() for n, w in p.denoiser.state_dict().items()}
    p.to(torch.bfloat16)
    assert p.dtype == torch.bfloat16
    kept = set(p.family.denoiser._keep_in_fp32_modules)
    wide = {n for n, w in [*p.denoiser.named_parameters(), *p.denoiser.named_buffers()] if w.dtype != torch.bfloat16}
    assert wide == {n for n, _ in [*p.denoiser.named_parameters(), *p.denoiser.named_buffers()] if kept & set(n.split("."))}  # fmt: skip
    after = p.denoiser.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in wide & after.keys()), "to the bit"
    assert any("rope" in n for n in wide)


def upper(*, prompts: Any, completions: Any, **columns: Any) -> Tensor:
    """The upper half brighter than the lower, in pictures and in clips."""
    shown = completions if isinstance(completions, Tensor) else torch.stack(list(completions))
    above, below = shown.chunk(2, -2)
    return (above - below).flatten(1).mean(1)


def methods(p: DiffusionPolicy) -> dict[str, tuple[Any, Any]]:
    """One of each kind, with its data."""
    shown = [picture(p, i) for i in range(2)]
    pairs = Rows([Comparison(prompt=t, chosen=shown[i], rejected=shown[1 - i]) for i, t in enumerate(PROMPTS)])
    return {
        "supervised": (a.Supervised(p), Rows([Example(prompt=c.prompt, completion=c.chosen) for c in pairs])),
        "diffusion-dpo": (a.DiffusionDPO(p, beta=100.0), pairs),
        "flow-grpo": (a.GRPO(p, upper, group_size=2, sampling=SDE), Rows(PROMPTS[:1])),
        "alignprop": (a.AlignProp(p, upper, truncation="full", sampling=ODE), Rows(PROMPTS)),
    }


STEP = 2e-3


@families
def test_every_kind_of_method_goes_down_its_own_gradient(family: str) -> None:
    """A small step changes its loss by what the gradient says."""
    p = policy(family, lora=2)
    nudge(p)
    weights = [w for w in p.parameters() if w.requires_grad]
    for name, (algorithm, rows) in methods(p).items():
        given = algorithm.experience(rows, Step(0, 0))
        loss = algorithm(given).sum
        # Of denoisers that take turns one may have none.
        slopes = torch.autograd.grad(loss, weights, materialize_grads=len(p.denoisers) > 1)
        steepness = torch.cat([g.flatten() for g in slopes]).norm()
        with torch.no_grad():
            for w, g in zip(weights, slopes, strict=True):
                w.sub_(STEP / steepness * g)
            assert float(loss - algorithm(given).sum) == pytest.approx(STEP * float(steepness), rel=0.2), name
    found = noise_optimise(p, upper, PROMPTS[:1], sampling=ODE, iterations=2)
    assert found.values > found.history[0]


@pytest.mark.parametrize("family", [f for f in TINY if f not in WITHOUT_LORA + TWINS])
def test_a_saved_lora_is_opened_by_the_pipeline_whole_and_draws_the_same(family: str, tmp_path: Path) -> None:
    path = folder(family, str(tmp_path))
    p = DiffusionPolicy.load(path, lora=2, size=TINY[family].size, device="cpu")
    nudge(p, 0.1)
    p.save(tmp_path / "lora")
    pipe, _ = opened(path, torch.float32)
    pipe.load_lora_weights(str(tmp_path / "lora"))
    for part in [*p.denoisers][1:]:
        pipe.load_lora_weights(str(tmp_path / "lora" / part), **{f"load_into_{part}": True})
    after = DiffusionPolicy.load(pipe, size=TINY[family].size, device="cpu")
    ours, theirs = ({n.replace("default_0", "default") for n, _ in x.named_parameters() if "lora" in n} for x in (p, after))  # fmt: skip
    assert ours == theirs
    named = DiffusionPolicy.load(tmp_path / "lora", size=TINY[family].size, device="cpu")
    mixed = DiffusionPolicy.load(path, size=TINY[family].size, device="cpu")
    mixed.mix({tmp_path / "lora": 1.0})
    before, drawn, *again = (x.sample(PROMPTS, 1, SDE, seed=2).actions.latents for x in (policy(family), p, after, named, mixed))  # fmt: skip
    assert all(torch.allclose(drawn, x, atol=1e-5) for x in again)
    assert not torch.allclose(drawn, before, atol=1e-3)


class Stop(Exception):
    pass


@pytest.mark.parametrize("family", [f for f in TINY if f not in TWINS])
def test_a_run_that_goes_on_ends_where_it_would_have_ended(family: str, tmp_path: Path) -> None:
    def stop(step: int) -> dict[str, float]:
        if step == 1:
            raise Stop
        return {}

    def train(out: str, **more: Any) -> list[Tensor]:
        p = policy(family, lora=2)
        fit(a.DDPO(p, upper, min_count=1, group_size=2, sampling=SDE), PROMPTS, steps=2,
            batch_size=1, lr=1e-2, out=tmp_path / out, progress=False, checkpoint_every=1, **more)  # fmt: skip
        return [w.detach().clone() for w in p.parameters() if w.requires_grad]

    whole = train("whole")
    with pytest.raises(Stop):
        train("broken", evaluate=stop, evaluate_every=1)
    assert all(map(torch.equal, whole, train("broken", resume=True)))


def test_other_pipelines_and_sizes_are_refused_in_a_line_that_says_what_would_do() -> None:
    unet = UNet2DModel(sample_size=8, block_out_channels=(4, 4), norm_num_groups=2, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    with pytest.raises(ModelError) as caught:
        DiffusionPolicy.load(DDPMPipeline(unet, DDPMScheduler()), device="cpu")
    assert all(kind.name in str(caught.value) for kind in FAMILIES)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no LoRA for a PixArtTransformer2DModel"):
        policy("pixart").add_lora(2)
    with pytest.raises(ConfigError, match="frames, height and width"):
        DiffusionPolicy(pipeline("wan"), "wan", size=(-1, 16, 16))
    with pytest.raises(ConfigError, match="multiples of 4 pixels"):
        DiffusionPolicy(pipeline("pixart"), "pixart", size=18)
    with pytest.raises(ConfigError, match="1, 3, 5 … frames, not of 4"):
        DiffusionPolicy(pipeline("wan"), "wan", size=(4, 16, 16))
    with pytest.raises(ModelError, match="has 3 frames here"):
        policy("wan").pictures.latents([torch.rand(2, 3, 16, 16)])
    with pytest.raises(ModelError, match="no path of 1 step"):
        policy("qwen-image").sample(PROMPTS, 1, Denoising(1, 1.0, 0.0))
    for size, said in ((17, "multiples of 4 pixels"), ((1, 16, 16), "a side, or height and width")):
        with pytest.raises(ConfigError, match=said):
            DiffusionPolicy(pipeline("flux-dev"), "flux", size=size)


def test_pictures_need_not_be_squares() -> None:
    p = DiffusionPolicy(pipeline("flux-schnell"), "flux", size=(16, 24))
    wide = torch.rand(3, 32, 48)
    assert p.pictures.latents([wide]).shape == p.noise(1, 0).shape == (1, 4, 8, 12)
    start = p.noise(1, 3)
    (ours,) = p.sample(PROMPTS[:1], 1, Denoising(steps=3, guidance=1.0, eta=0.0), start=start).completions
    assert torch.allclose(ours, TINY["flux-schnell"].own(p, PROMPTS[:1], 1.0, start)[0], atol=1e-4)


def test_a_reward_of_pictures_sees_the_frames_of_clips() -> None:
    p = policy("wan")
    clips = p.denoise_with_grad(PROMPTS, ODE, grad=1, seed=3)
    shapes: list[Any] = []
    score(
        lambda *, completions, **_: shapes.append(completions.shape) or [0.0, 0.0],
        prompts=PROMPTS,
        completions=list(clips.detach()),
    )
    assert shapes == [clips.shape], "one tensor, which can lie on a device"
    assert clips.shape == (2, 3, 3, 16, 16)
    said = score(Framewise(upper), prompts=PROMPTS, completions=clips)
    frames = torch.stack([upper(prompts=PROMPTS, completions=clips[:, t]) for t in range(3)])
    assert torch.allclose(said.values, frames.mean(0))
    assert torch.allclose(
        score(Framewise(upper, every=2), prompts=PROMPTS, completions=clips).values, frames[::2].mean(0)
    )
    weight = next(w for w in p.denoiser.parameters() if w.ndim == 2)
    slopes = [torch.autograd.grad(x.sum(), weight, retain_graph=True)[0] for x in (said.values, frames.mean(0))]
    assert torch.allclose(*slopes, atol=1e-7)

    def dark(*, completions: Any, **columns: Any) -> list[float | None]:
        return [None if x.mean() > 0.5 else 1.0 for x in completions]

    mixed = [torch.stack([torch.full((3, 4, 4), v) for v in levels]) for levels in ((0.1, 0.9), (0.9, 0.8))]
    found = score(Framewise(dark), prompts=PROMPTS, completions=mixed)
    assert found.values.tolist() == [1.0, 0.0]
    assert found.valid.tolist() == [True, False]
    uneven = [list(torch.full((2, 3, 4, 4), 0.1)), torch.full((3, 3, 4, 4), 0.9)]
    found = score(Framewise(dark), prompts=PROMPTS, completions=uneven)
    assert (found.values.tolist(), found.valid.tolist()) == ([1.0, 0.0], [True, False])
    with pytest.raises(RewardError, match="in one size"):
        score(Framewise(dark), prompts=PROMPTS, completions=[uneven[0], torch.full((3, 3, 6, 8), 0.9)])
    with pytest.raises(RewardError, match="these are pictures"):
        score(Framewise(upper), prompts=PROMPTS, completions=clips[:, 0])
