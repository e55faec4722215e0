"""Diffusion policies on Stable Diffusion 1, XL and 3 classes: parity with diffusers, densities, gradients, LoRA."""

import math
from typing import Any

import diffusers
import pytest
import torch

from accord.algorithms import DPO, GRPO, RAFT, Supervised
from accord.algorithms.supervised import imitation
from accord.engine import Rows, Step, fit
from accord.errors import ConfigError, ModelError
from accord.feedback import Comparison, Example
from accord.policies.base import Group
from accord.policies.diffusion import Denoising, DiffusionPolicy, Draw, Schedule
from accord.policies.diffusion.schedule import training_levels
from tiny_pipelines import FAMILIES, pipeline, policy
from tiny_pipelines import gradient as tiny_gradient

PROMPTS = ["a red cat", "a person with a hat"]
SDE = Denoising(steps=4, guidance=3.0, eta=1.0)


def swap(p: DiffusionPolicy, name: str, **config: Any) -> DiffusionPolicy:
    p.pipeline.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(p.pipeline.scheduler.config, **config)
    return p


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_those_of_the_pipeline_itself(family: str) -> None:
    p = policy(family)
    start = p.noise(2, 5)
    ours = p.sample(PROMPTS, 1, Denoising(steps=5, guidance=3.0, eta=0.0), start=start)
    theirs = p.pipeline(PROMPTS, num_inference_steps=5, guidance_scale=3.0, latents=start.clone(), output_type="pt",
                        **({"height": 16, "width": 16} if family == "sd3" else {})).images  # fmt: skip
    assert torch.allclose(torch.stack(ours.completions), theirs, atol=5e-4)


@pytest.mark.parametrize("name", ["EulerDiscrete", "DDIM"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_deterministic_samplers_agree_with_diffusers(name: str, spacing: str, predicts: str) -> None:
    p = swap(policy("sd"), name, timestep_spacing=spacing, prediction_type=predicts)
    start = p.noise(1, 2)
    ours = p.sample(["a cat"], 1, Denoising(steps=10, guidance=1.0, eta=0.0), start=start)
    scheduler = p.pipeline.scheduler
    scheduler.set_timesteps(10)
    condition, x = p.condition(["a cat"]), start
    if name.startswith("Euler"):  # its latents live at x_0 + s eps; ours are divided by sqrt(1 + s^2)
        x = start * (scheduler.sigmas[0] ** 2 + 1).sqrt()
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = p.denoiser(scheduler.scale_model_input(x, t), t, **condition.tensors).sample
            x = scheduler.step(out, t, x).prev_sample
    assert torch.allclose(ours.actions.latents[:, -1], x, atol=1e-4)


@pytest.mark.parametrize("name", ["DDIM", "DDPM", "LCM"])
def test_stochastic_steps_have_the_mean_and_spread_of_diffusers(name: str) -> None:
    p = swap(policy("sd"), name, clip_sample=False)
    scheduler = p.pipeline.scheduler
    scheduler.set_timesteps(4)
    schedule = Schedule.of(scheduler, 4)
    g = torch.Generator().manual_seed(0)
    x, out = torch.randn(20_000, 1, 1, 1, generator=g), torch.tensor(0.3)
    t = scheduler.timesteps[1]
    if name == "LCM":
        scheduler._init_step_index(t)
    more: dict[str, Any] = {"eta": 1.0} if name == "DDIM" else {}
    same = torch.full_like(x, 0.7)
    theirs = scheduler.step(out.expand_as(x), t, same, generator=g, **more).prev_sample
    mean, std = schedule.step(same, out.expand_as(x), 1, 1.0)
    assert float(theirs.mean()) == pytest.approx(float(mean[0]), abs=4 * std / math.sqrt(20_000) + 1e-6)
    assert float(theirs.std()) == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_between_levels_keep_the_marginals(family: str) -> None:
    """From x_t = alpha x_0 + sigma eps a step with the true noise lands on the next level's mean and total spread."""
    schedule = policy(family).schedule(6)
    clean, noise = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 1.0)
    for i in range(5):
        a, s = schedule.alpha[i], schedule.sigma[i]
        out = schedule.target(clean, noise, a, s)
        for eta in (0.0, 0.5, 1.0):
            mean, std = schedule.step(a * clean + s * noise, out, i, eta)
            along = (float(mean) - float(schedule.alpha[i + 1]) * 2.0) ** 2 + std**2
            assert along == pytest.approx(float(schedule.sigma[i + 1]) ** 2, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_logprobs_are_those_of_sampling_and_their_gradient_is_right(family: str) -> None:
    p = policy(family)
    drawn = p.sample(PROMPTS, 2, SDE, seed=3)
    found = p.logprobs(drawn)
    assert torch.allclose(found, drawn.logprobs, atol=1e-2, rtol=1e-5)
    assert torch.allclose(p.logprobs(drawn.select([2, 0])), found[[2, 0]], atol=1e-2, rtol=1e-5)
    weight = next(w for w in p.denoiser.parameters() if w.ndim == 2)
    (grad,) = torch.autograd.grad(found.sum(), weight)
    slope = grad.norm()
    with torch.no_grad():
        sums = []
        for step in (1e-3, -1e-3):
            weight.add_(step * grad / slope)
            sums.append(p.logprobs(drawn).double().sum())
            weight.sub_(step * grad / slope)
    assert float(slope) == pytest.approx(float(sums[0] - sums[1]) / 2e-3, rel=0.05)


def test_draws_do_not_depend_on_their_neighbours() -> None:
    p = policy("sd")
    both, alone = p.sample(PROMPTS, 1, SDE, seed=9), p.sample(PROMPTS[:1], 1, SDE, seed=9)
    assert torch.allclose(both.completions[0], alone.completions[0], atol=1e-5)


def test_steps_without_noise_are_refused_for_training_and_not_counted() -> None:
    with pytest.raises(ConfigError, match="eta > 0"):
        GRPO(policy("sd"), brightness, sampling=Denoising(eta=0.0))
    assert not policy("sd").sample(["a cat"], 1, Denoising(steps=3, eta=0.0)).mask.any()
    assert not policy("sd3").sample(["a cat"], 1, SDE).mask[0, -1]


def test_likelihood_is_the_loss_of_diffusion_dpo() -> None:
    """diffusers' research script: 0.5 beta (mse differences), timesteps and noise shared by the pair."""
    p = policy("sd")
    pictures = [torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    groups = [Group(PROMPTS[0], tuple(pictures[:2])), Group(PROMPTS[1], tuple(pictures[2:]))]
    draw = p.draw(groups, 7)
    found = p.likelihood(groups, draw)
    scheduler = p.pipeline.scheduler
    t = (draw.level * 1000).long().repeat_interleave(2)
    noise = draw.noise[:, 0].repeat_interleave(2, 0)
    noisy = scheduler.add_noise(p.pictures.encode(torch.stack(pictures)), noise, t)
    condition = p.condition([PROMPTS[0]] * 2 + [PROMPTS[1]] * 2)
    mse = (p.denoiser(noisy, t, **condition.tensors).sample - noise).square().mean((1, 2, 3))
    assert torch.allclose(found.policy, -0.5 * mse, atol=1e-6)
    algorithm = DPO(p, beta=2000.0)
    pairs = Rows(Comparison(prompt=g.prompt, chosen=g.completions[0], rejected=g.completions[1]) for g in groups)
    given = algorithm.experience(pairs, Step(0, 0))
    assert float(algorithm(given).sum) / 2 == pytest.approx(math.log(2), abs=2e-4)  # beta times rounding
    with torch.no_grad():
        for w in p.denoiser.parameters():
            w.add_(1e-2 * torch.randn_like(w))
    now = p.likelihood(given.groups, given.draw).policy
    h = (now - given.reference.flatten()).reshape(2, 2)  # type: ignore[union-attr]
    wanted = -torch.nn.functional.logsigmoid(2000.0 * (h[:, 0] - h[:, 1])).sum()
    assert float(algorithm(given).sum) == pytest.approx(float(wanted), rel=1e-4)


def test_gradient_through_all_steps_is_plain_autograd_and_through_the_last_one_sees_its_input_as_constant() -> None:
    p = policy("sd")
    options = Denoising(steps=3, guidance=2.0, eta=0.0)
    weights = [w for w in p.denoiser.parameters() if w.ndim == 4][:3]
    start = p.noise(2, 4)
    schedule, condition = p.schedule(3), p.condition(PROMPTS)
    x, states = start, []
    for i in range(3):
        states.append(x)
        x = schedule.step(x, p.predict(x, float(schedule.timesteps[i]), condition, 2.0), i, 0.0)[0]
    plain = torch.autograd.grad(p.pictures.decode(x).square().sum(), weights)
    ours = torch.autograd.grad(p.denoise_with_grad(PROMPTS, options, grad=3, seed=4).square().sum(), weights)
    for a, b in zip(plain, ours, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)
    late = states[2].detach()
    last = schedule.step(late, p.predict(late, float(schedule.timesteps[2]), condition, 2.0), 2, 0.0)[0]
    one = torch.autograd.grad(p.pictures.decode(last).square().sum(), weights)
    for recompute in (True, False):
        ours = torch.autograd.grad(
            p.denoise_with_grad(PROMPTS, options, grad=1, seed=4, recompute=recompute).square().sum(), weights
        )
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(one, ours, strict=True))


def test_stopping_early_decodes_the_predicted_picture() -> None:
    p = policy("sd")
    options = Denoising(steps=4, guidance=1.0, eta=0.0)
    schedule, condition = p.schedule(4), p.condition(PROMPTS)
    x = p.sample(PROMPTS, 1, options, seed=4).actions.latents[:, 2]
    wanted = p.pictures.decode(schedule.picture(x, p.predict(x, float(schedule.timesteps[2]), condition), 2))
    assert torch.allclose(p.denoise_with_grad(PROMPTS, options, stop=2, seed=4), wanted, atol=1e-4)
    with pytest.raises(ConfigError, match="stop=4"):
        p.denoise_with_grad(PROMPTS, options, stop=4)
    with pytest.raises(ConfigError, match="names no steps"):
        p.denoise_with_grad(PROMPTS, options, grad=[3], stop=2)


def test_embeddings_that_are_forgotten_come_back_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.policies.diffusion import model

    texts = ["a cat", "a person", "a red hat"]
    wanted = policy("sd").condition([*texts, "a cat"]).tensors["encoder_hidden_states"]
    monkeypatch.setattr(model, "REMEMBERED", 1)
    p = policy("sd")
    for _ in range(2):
        assert torch.equal(p.condition([*texts, "a cat"]).tensors["encoder_hidden_states"], wanted)
        assert len(p._conditions) == 1


def test_start_noise_gets_its_gradient() -> None:
    p = policy("sd3")
    start = (0.4 * p.noise(1, 0)).requires_grad_()
    options = Denoising(steps=2, guidance=1.0, eta=0.0)
    picture = p.denoise_with_grad(["a cat"], options, grad=2, start=start)
    inside = ((picture > 0.02) & (picture < 0.98)).detach()  # a clamped pixel would differ from its gradient
    (grad,) = torch.autograd.grad((picture * inside).square().sum(), start)
    with torch.no_grad():
        along = grad / grad.norm()
        up, down = (
            float((p.denoise_with_grad(["a cat"], options, start=start + e * along) * inside).double().square().sum())
            for e in (1e-2, -1e-2)
        )
    assert float(grad.norm()) == pytest.approx((up - down) / 2e-2, rel=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_lora_opens_in_diffusers_and_the_base_is_the_model_before(family: str, tmp_path: Any) -> None:
    p = policy(family)
    options = Denoising(steps=3, guidance=2.0, eta=0.0)
    before = p.sample(PROMPTS, 1, options, seed=1).completions
    p.add_lora(4)
    with torch.no_grad():
        for name, w in p.denoiser.named_parameters():
            if "lora_B" in name:
                w.normal_(0, 0.2)
    after = p.sample(PROMPTS, 1, options, seed=1).completions
    assert not torch.allclose(torch.stack(before), torch.stack(after), atol=1e-3)
    assert torch.allclose(
        torch.stack(p.freeze("base").sample(PROMPTS, 1, options, seed=1).completions), torch.stack(before), atol=1e-5
    )
    p.save(tmp_path)
    other = pipeline(family)
    other.load_lora_weights(str(tmp_path))
    again = DiffusionPolicy(other, family).sample(PROMPTS, 1, options, seed=1).completions
    assert torch.allclose(torch.stack(again), torch.stack(after), atol=1e-5)


def test_frozen_now_stays_as_it_is() -> None:
    p = policy("sd")
    frozen = p.freeze("now")
    drawn = p.sample(PROMPTS, 1, SDE, seed=1)
    before = p.logprobs(drawn).detach()
    with torch.no_grad():
        for w in p.denoiser.parameters():
            w.mul_(1.1)
    assert torch.allclose(frozen.logprobs(drawn), before, atol=1e-2, rtol=1e-5)
    assert not torch.allclose(p.logprobs(drawn), before, atol=1.0)


def brightness(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """Of the upper half against the lower one."""
    return [float(c[:, :8].mean() - c[:, 8:].mean()) for c in completions]


def test_the_rollout_algorithm_of_text_follows_the_reward_of_pictures() -> None:
    """Along its gradient the reward rises: by the slope between two policies that draw with the same noise."""
    p = policy("sd3")
    options = Denoising(steps=3, guidance=1.0)
    algorithm = GRPO(p, brightness, group_size=256, sampling=options, reference=None)
    for seed in range(4):
        algorithm(algorithm.experience(Rows(["a cat"]), Step(0, seed))).sum.backward()
    weights = [w for w in p.parameters() if w.grad is not None]
    norm = torch.stack([w.grad.norm() for w in weights]).norm()  # type: ignore[union-attr]

    def reward(along: float) -> float:
        with torch.no_grad():
            for w in weights:
                w.sub_(along * w.grad / norm)
            drawn = p.sample(["a cat"], 256, options, seed=77)
            for w in weights:
                w.add_(along * w.grad / norm)
        return sum(brightness(prompts=None, completions=drawn.completions)) / 256

    assert reward(0.02) > reward(-0.02)


def test_supervised_training_on_pictures_lowers_the_denoising_error() -> None:
    p = policy("sd")
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    rows = [Example(prompt="a cat", completion=picture)] * 8
    run = fit(Supervised(p), rows, steps=30, batch_size=8, lr=3e-3, progress=False)
    error = run.column("error")
    assert sum(error[-5:]) < 0.9 * sum(error[:5])
    groups = [Group("a cat", (picture,))] * 2
    draw = p.draw(groups, 0)
    assert isinstance(draw, Draw)
    loss = imitation(p.likelihood(groups, draw), pictures=True)
    _, alpha, sigma = training_levels(p.pipeline.scheduler, draw.level)
    a, s, noise = alpha[:, None, None, None], sigma[:, None, None, None], draw.noise[:, 0]
    noisy = a * p.pictures.latents([picture] * 2) + s * noise
    with torch.no_grad():
        output = p.predict(noisy, training_levels(p.pipeline.scheduler, draw.level)[0], p.condition(["a cat"] * 2))
        assert float(loss.sum) / loss.weight == pytest.approx(float((output - noise).square().mean()), rel=1e-5)
    alone = p.likelihood(groups[1:], draw.select([1])).policy
    assert torch.allclose(p.likelihood(groups, draw).policy[1:], alone, atol=1e-6)


def test_raft_learns_from_winning_pictures_by_their_denoising_loss() -> None:
    p = policy("sd")
    prompts, sampling = ["a red cat", "a person"], Denoising(steps=3, guidance=1.0, eta=1.0)
    algorithm = RAFT(p, brightness, group_size=3, sampling=sampling)
    won = algorithm.experience(Rows(prompts), Step(0, 0))
    drawn = p.sample(prompts, 3, sampling, seed=Step(0, 0).seeds(2, purpose="rollout"))
    bright = torch.tensor(brightness(prompts=prompts, completions=drawn.completions)).reshape(2, 3)
    best = [3 * i + int(j) for i, j in enumerate(bright.argmax(1))]
    rows = [Example(prompt=g.prompt, completion=drawn.actions.latents[i, -1]) for i, g in zip(best, won.groups[::3], strict=True) for _ in range(3)]  # fmt: skip
    assert [r.prompt for r in rows] == [g.prompt for g in won.groups]
    assert len({float(x) for x in won.draw.level}) == len(won) == 6
    supervised = Supervised(p)
    asked = supervised.experience(Rows(rows), Step(0, 0))
    assert tiny_gradient(algorithm, won).norm() > 0
    assert torch.equal(tiny_gradient(algorithm, won), tiny_gradient(supervised, asked))
    # Its own path is what a policy has already: imitating it is another thing.
    path = -(p.logprobs(drawn.select(best)).sum())
    weights = [w for w in p.denoiser.parameters() if w.requires_grad]
    other = torch.cat([g.flatten() for g in torch.autograd.grad(path, weights, allow_unused=True) if g is not None])
    assert float(torch.cosine_similarity(other, tiny_gradient(supervised, asked), dim=0)) < 0.5


def test_clear_words_for_what_cannot_work(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="can't load a diffusers pipeline"):
        DiffusionPolicy.load(tmp_path)
    with pytest.raises(ModelError, match="can't read the picture"):
        policy("sd").pictures.latents([str(tmp_path / "no.png")])
    with pytest.raises(ModelError, match="no training path for the scheduler"):
        Schedule.of(diffusers.UniPCMultistepScheduler(), 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_whose_end_no_encoder_sees_is_named_once(family: str, caplog: pytest.LogCaptureFixture) -> None:
    p, long = policy(family), "a red cat " * 9
    seen = p.condition(["a cat", long, long])
    p.condition([long])
    assert [r.getMessage() for r in caplog.records if r.name.startswith("accord")] == [
        "the text encoder reads 24 tokens, but the prompt 'a red cat a red cat a red cat a red cat ' has 65: its end is not seen"
    ]
    other = p.condition([long[:60] + "with a hat"])
    assert torch.equal(seen.select([1]).tensors["encoder_hidden_states"], other.tensors["encoder_hidden_states"])


def test_there_is_no_dropout_in_log_probs_even_after_train() -> None:
    p = policy("sd").train()
    for m in p.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.5
    groups = [Group("a cat", (torch.rand(3, 16, 16),))]
    drawn = p.sample(["a cat"], 2, SDE)
    found = [p.likelihood(groups).policy.detach() for _ in range(2)]
    assert torch.equal(*found)
    assert torch.allclose(p.logprobs(drawn), drawn.logprobs, rtol=1e-4)
    assert not DiffusionPolicy(pipeline("sd"), "fresh").training


def test_checkpointed_activations_are_computed_again(tmp_path: Any) -> None:
    counts, grads = [], []
    pipeline("sd").save_pretrained(tmp_path)
    for checkpointing in (False, True):
        p = DiffusionPolicy.load(tmp_path, device="cpu", gradient_checkpointing=checkpointing)
        calls: list[int] = []
        for m in p.denoiser.modules():
            if type(m).__name__.endswith("ResnetBlock2D"):
                m.register_forward_pre_hook(lambda *a, calls=calls: calls.append(1))
        p.likelihood([Group("a cat", (torch.full((3, 16, 16), 0.5),))]).policy.sum().backward()
        counts.append(len(calls))
        grads.append(torch.cat([w.grad.flatten() for w in p.parameters() if w.grad is not None]))
    assert counts[1] > counts[0]
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-7)


def test_a_pipeline_that_comes_with_a_lora_is_compared_with_as_it_came(tmp_path: Any) -> None:
    first = policy("sd", lora=2)
    with torch.no_grad():
        for name, w in first.denoiser.named_parameters():
            if "lora_B" in name:
                w.normal_(0, 0.3)
    first.save(tmp_path)
    pipe = pipeline("sd")
    pipe.load_lora_weights(str(tmp_path))
    p = DiffusionPolicy(pipe, "tuned")
    row = fit(
        GRPO(p, brightness, group_size=2, kl=0.1, sampling=SDE), PROMPTS, steps=1, batch_size=1, progress=False
    ).metrics[0]
    assert row["kl"] == pytest.approx(0, abs=1e-3)
    pairs = Rows([Comparison(prompt="a cat", chosen=torch.rand(3, 16, 16), rejected=torch.rand(3, 16, 16))])
    dpo = DPO(p, beta=2000.0)
    assert dpo(dpo.experience(pairs, Step(0, 0))).metrics["margin"].value == pytest.approx(0, abs=1e-3)
    with pytest.raises(ConfigError, match="has a LoRA already"):
        p.add_lora(2)
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    fused = DiffusionPolicy(pipe, "fused")
    fused.add_lora(2)
    assert torch.allclose(fused.sample(PROMPTS, 1, SDE).logprobs, first.sample(PROMPTS, 1, SDE).logprobs, rtol=1e-3)


def strong(p: DiffusionPolicy) -> DiffusionPolicy:
    with torch.no_grad():
        for name, w in p.denoiser.named_parameters():
            if "lora_B" in name:
                w.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    return p


@pytest.mark.parametrize("options", [{"lora_alpha": 12}, {"use_rslora": True, "lora_alpha": 5}, {"rank_pattern": {"to_q": 2}, "lora_alpha": 8},
                                     {"target_modules": ["to_k", "ff.net.2"], "lora_dropout": 0.5}], ids=str)  # fmt: skip
def test_any_configuration_of_a_lora_saves_as_what_it_computes(options: dict[str, Any], tmp_path: Any) -> None:
    """diffusers' files hold no alpha."""
    from peft import LoraConfig

    config = LoraConfig(r=4, **options)
    p = strong(DiffusionPolicy.load(pipeline("sd"), lora=config, device="cpu"))
    assert config.target_modules == (
        options.get("target_modules") and set(options["target_modules"])
    )  # ours to read, not to change
    wanted = p.sample(PROMPTS, 1, SDE).actions.latents
    assert not torch.allclose(wanted, policy("sd").sample(PROMPTS, 1, SDE).actions.latents, atol=1e-4)
    p.save(tmp_path)
    pipe = pipeline("sd")
    pipe.load_lora_weights(str(tmp_path))
    assert torch.allclose(
        DiffusionPolicy.load(pipe, device="cpu").sample(PROMPTS, 1, SDE).actions.latents, wanted, atol=1e-4
    )


def test_a_rank_is_a_lora_that_adds_its_matrices_themselves() -> None:
    p = policy("sd", lora=3)
    config = p.denoiser.peft_config["default"]
    assert config.r == config.lora_alpha == 3
    assert all(m.scaling == {"default": 1.0} for m in p.denoiser.modules() if hasattr(m, "lora_B"))
    with pytest.raises(ConfigError, match="lora is a rank"):
        policy("sd", lora=-1)


def test_a_loaded_pipeline_is_as_good_as_its_name(tmp_path: Any) -> None:
    pipeline("sd").save_pretrained(tmp_path)
    named, loaded = (DiffusionPolicy.load(x, lora=2, device="cpu", seed=3) for x in (tmp_path, pipeline("sd")))
    drawn = [strong(p).sample(PROMPTS, 1, SDE).actions.latents for p in (named, loaded)]
    assert torch.equal(*drawn)
    half = DiffusionPolicy.load(pipeline("sd").to(torch.float16), device="cpu")
    assert {w.dtype for w in half.parameters()} == {torch.float32}
    assert DiffusionPolicy.load(pipeline("sd"), device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    for wrong in (named, named.denoiser, 3):
        with pytest.raises(ModelError, match="a name, a folder or a diffusers pipeline"):
            DiffusionPolicy.load(wrong)


def test_a_lora_that_came_with_the_pipeline_is_what_trains_and_is_saved(tmp_path: Any) -> None:
    strong(policy("sd", lora=2)).save(tmp_path / "first")
    pipe = pipeline("sd")
    pipe.load_lora_weights(str(tmp_path / "first"))
    p = DiffusionPolicy.load(pipe, device="cpu")
    assert {"lora_" in n for n, w in p.named_parameters() if w.requires_grad} == {True}
    fit(
        Supervised(p),
        [Example(prompt="a cat", completion=torch.rand(3, 16, 16))],
        steps=1,
        batch_size=1,
        lr=1e-2,
        progress=False,
    )
    p.save(tmp_path / "second")
    again = pipeline("sd")
    again.load_lora_weights(str(tmp_path / "second"))
    drawn, before = (x.sample(PROMPTS, 1, SDE).actions.latents for x in (p, strong(policy("sd", lora=2))))
    assert torch.allclose(
        DiffusionPolicy.load(again, device="cpu").sample(PROMPTS, 1, SDE).actions.latents, drawn, atol=1e-4
    )
    assert not torch.allclose(drawn, before, atol=1e-4)
    assert not any(w.requires_grad for w in p.freeze("now")._policy.parameters())


def test_what_a_file_of_diffusers_cannot_hold_is_refused(tmp_path: Any) -> None:
    for i in range(2):
        strong(policy("sd", lora=2)).save(tmp_path / str(i))
    mixed = policy("sd")
    mixed.mix({tmp_path / "0": 0.5, tmp_path / "1": 0.5})
    with pytest.raises(ModelError, match="2 adapters can't be saved as one"):
        mixed.save(tmp_path / "both")
