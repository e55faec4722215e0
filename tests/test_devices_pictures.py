"""Every algorithm and search on pictures on another device beside the CPU, and in half precision."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler
from torch import Tensor

from accord import algorithms as a
from accord.evaluation import Probe
from accord.feedback import Comparison, Example, Label, with_picture
from accord.identity import CallableEncoder, IdentityConsistency
from accord.policies.diffusion import Denoising, DiffusionPolicy, EncodedOnce, invert, renoise
from accord.rewards import score
from accord.search import best_of_n, noise_optimise
from accord.worlds.portraits import proxies
from tiny_families import TINY
from tiny_families import policy as of_family
from tiny_pipelines import brightness, contrast, folder, picture, policy
from two_devices import CPU, both, first_step, on, same

PROMPTS = ["a red cat", "a person with a hat"]
SDE, ODE = Denoising(steps=2, guidance=2.0, eta=1.0), Denoising(steps=2, guidance=2.0, eta=0.0)
SHOWN = [Comparison(prompt=p, chosen=picture(2 * i), rejected=picture(2 * i + 1)) for i, p in enumerate(PROMPTS)]
DRAWN = [Example(prompt=c.prompt, completion=c.chosen) for c in SHOWN]


class Colours(torch.nn.Module):
    """An encoder that owns a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(3, 4).requires_grad_(False)
        self.mix.weight.copy_(torch.arange(12.0).reshape(4, 3) / 6 - 1)
        self.mix.bias.fill_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(images.mean((2, 3)))


def face() -> IdentityConsistency:
    return IdentityConsistency(CallableEncoder(Colours(), differentiable=True), torch.tensor([0.3, -0.2, 0.1, 0.5]))


def consistent(p: DiffusionPolicy) -> DiffusionPolicy:
    """The policy as a consistency model, whatever it was."""
    p.pipeline.scheduler = LCMScheduler.from_config(p.pipeline.scheduler.config)
    return p


PICTURES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "dpo": (lambda p: a.DPO(p, beta=100.0), SHOWN),
    "diffusion-dpo": (lambda p: a.DiffusionDPO(p, beta=100.0), SHOWN),
    "inpo": (lambda p: a.InPO(p, beta=100.0, levels=2), SHOWN),
    "kto": (lambda p: a.KTO(p, beta=100.0), [Label(prompt=e.prompt, completion=e.completion, label=bool(i)) for i, e in enumerate(DRAWN)]),
    "sft": (a.Supervised, DRAWN),
    "grpo": (lambda p: a.GRPO(p, brightness, group_size=2, kl=0.1, sampling=SDE), PROMPTS),
    "grpo in pieces": (lambda p: a.GRPO(p, face(), group_size=2, steps_at_once=1, normalise="budget", sampling=SDE), PROMPTS),
    "rloo": (lambda p: a.RLOO(p, brightness, group_size=2, sampling=SDE), PROMPTS),
    "raft": (lambda p: a.RAFT(p, brightness, group_size=2, sampling=SDE), PROMPTS),
    "ddpo": (lambda p: a.DDPO(p, brightness, sampling=Denoising(2, 2.0, 1.0, average=True)), PROMPTS),
    "rlcm": (lambda p: a.RLCM(consistent(p), brightness, sampling=Denoising(3, 1.0, average=True), group_size=2), PROMPTS),
    "flow-grpo": (lambda p: a.FlowGRPO(p, brightness, group_size=2, window=1, sampling={"steps": 2, "guidance": 2.0}), PROMPTS),
    "diffusion-nft": (lambda p: a.DiffusionNFT(p, brightness, group_size=2, levels=2, sampling=ODE), PROMPTS),
    "prdp": (lambda p: a.PRDP(p, brightness, group_size=2, sampling=SDE), PROMPTS),
    "d3po": (lambda p: a.D3PO(p, brightness, sampling=SDE), PROMPTS),
    "refl": (lambda p: a.ReFL(p, contrast, last=2, sampling=ODE), PROMPTS),
    "alignprop": (lambda p: a.AlignProp(p, contrast, sampling=ODE), PROMPTS),
    "draft": (lambda p: a.DRaFT(p, face(), k=2, sampling=ODE), PROMPTS),
    "lambda-harmonic-rpo": (a.RewardPreference, [a.SubjectPair(x, y, 0.8) for x, y in zip(DRAWN, DRAWN[::-1], strict=True)]),
    "id-aligner": (lambda p: a.IDAligner(p, face(), contrast, last=2, sampling=ODE, prompts=PROMPTS), DRAWN),
}  # fmt: skip
"""Methods on pictures, by their names in the catalogue."""


@cache
def pictures_on_the_cpu(method: str) -> dict[str, float]:
    make, data = PICTURES[method]
    return first_step(make(policy("sd", lora=2)), data)


@pytest.mark.parametrize("method", PICTURES)
def test_a_first_step_on_pictures_is_the_cpus(method: str, far: torch.device) -> None:
    make, data = PICTURES[method]
    should = on(CPU, lambda: pictures_on_the_cpu(method))
    found = first_step(make(policy("sd", lora=2).to(far)), data)
    norms = {k for k in should if k.startswith("grad_norm")}  # rounding over the small noise of last steps
    same(*({k: v for k, v in row.items() if k in norms} for row in (found, should)), rel=1e-2)
    same(*({k: v for k, v in row.items() if k not in norms} for row in (found, should)), rel=1e-3, absolute=2e-4)


@pytest.mark.parametrize("method", PICTURES)
def test_half_precision_on_pictures_learns_nearly_the_same(method: str) -> None:
    make, data = PICTURES[method]
    p = policy("sd").to(torch.bfloat16)
    p.add_lora(2)
    assert {w.dtype for w in p.parameters() if w.requires_grad} == {torch.float32}
    single, half = pictures_on_the_cpu(method), first_step(make(p), data)
    for name in {"reward", "error", "nll", "kl"} & single.keys():
        assert half[name] == pytest.approx(single[name], rel=0.05, abs=0.02), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["single", "half"])
@pytest.mark.parametrize("family", TINY)
def test_a_policy_moves_whole(family: str, dtype: torch.dtype, far: torch.device) -> None:
    """Denoiser, text encoders, autoencoder; what was made of prompts before is made anew. The path stays in single precision."""
    p = of_family(family, lora=2)
    before = p.sample(PROMPTS, 1, SDE, seed=3)
    p.to(far, dtype)
    parts = [m for m in p.pipeline.components.values() if isinstance(m, torch.nn.Module)]
    assert len(parts) >= 3
    kept = set(p.family.denoiser._keep_in_fp32_modules or ())
    for m in parts:
        for name, w in m.named_parameters():
            wide = m in p.denoisers.values() and kept & set(name.split("."))
            assert (w.device, w.dtype) == (far, torch.float32 if wide else dtype), name
    there = p.sample(PROMPTS, 1, SDE, seed=3)
    assert there.actions.latents.dtype == there.logprobs.dtype == p.logprobs(there).dtype == torch.float32
    if dtype == torch.float32:
        assert torch.allclose(there.logprobs, before.logprobs, rtol=1e-3)
        assert torch.allclose(torch.stack(there.completions), torch.stack(before.completions), atol=1e-4)
    assert torch.allclose(p.logprobs(there).cpu(), there.logprobs, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    p.to(CPU)
    assert p.sample(PROMPTS, 1, ODE).completions[0].device == CPU


def test_a_frozen_reference_goes_where_its_algorithm_goes(far: torch.device) -> None:
    algorithm = a.GRPO(policy("sd"), brightness, kl=0.1, group_size=2, sampling=SDE)
    twin = algorithm.reference.policy._policy  # type: ignore[union-attr]
    assert twin is not algorithm.policy
    algorithm.to(far)
    assert {w.device for w in twin.parameters()} == {far}
    assert not set(algorithm.state_dict()) - {f"policy.{k}" for k in algorithm.policy.state_dict()}


@pytest.mark.parametrize("lora", [2, None])
def test_text_encoders_that_are_asked_once_come_to_the_device_and_leave_it(
    lora: int | None, far: torch.device, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the reference too, a copy where the denoiser trains whole."""
    monkeypatch.setattr(EncodedOnce, "folder", tmp_path)
    seen: list[torch.device] = []

    def step(device: torch.device) -> dict[str, float]:
        made = EncodedOnce(policy("sd").pipeline, "sd")
        if lora:
            made.add_lora(lora)
        for encoder in made.text_encoders:
            encoder.register_forward_pre_hook(lambda module, _: seen.append(next(module.parameters()).device))
        algorithm = a.GRPO(made.to(device), contrast, kl=0.1, group_size=2, sampling=SDE)
        found = first_step(algorithm, PROMPTS)
        assert {w.device for w in [*made.parameters(), *made.pipeline.vae.parameters()]} == {device}
        assert {w.device for e in made.text_encoders for w in e.parameters()} == {CPU}
        return found

    both(far, step, rel=1e-3)
    assert seen.count(far) == len({*PROMPTS, ""}), "once for each, however often they were asked"


def test_an_image_adapter_and_its_encoder_move_along(far: torch.device) -> None:
    asked = [with_picture(t, picture(i)) for i, t in enumerate(PROMPTS)]

    def learns(device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, float]:
        p = policy("sd")
        p.add_image_adapter(lambda x: (Colours().to(x.device)(x), torch.ones(len(x), dtype=torch.bool)), 4, tokens=2)
        torch.nn.init.ones_(next(p.image_adapter.values.parameters()))  # type: ignore[union-attr]
        p.condition(asked)
        reward = IdentityConsistency(CallableEncoder(Colours(), differentiable=True))
        return first_step(a.DRaFT(p.to(device, dtype), reward, sampling=ODE), asked)

    both(far, learns, rel=1e-3)
    assert learns(far, torch.bfloat16)["reward"] == pytest.approx(learns(far)["reward"], abs=0.05)


def test_a_pipeline_loads_where_and_as_it_is_told(far: torch.device, tmp_path: Any) -> None:
    path = folder("sd", str(tmp_path))
    whole, adapters = DiffusionPolicy.load(path, device=str(far)), DiffusionPolicy.load(path, lora=2, device=str(far))
    # Adapters lie in single precision over weights in half; weights that train themselves are never halved.
    assert whole.dtype == torch.float32
    assert adapters.dtype == torch.bfloat16
    assert {w.dtype for w in adapters.parameters() if w.requires_grad} == {torch.float32}
    assert {w.device for p in (whole, adapters) for w in [*p.parameters(), *p.pipeline.vae.parameters()]} == {far}
    near = DiffusionPolicy.load(path, lora=2, device="cpu", dtype="bfloat16", seed=0)
    pairs = zip(near.denoiser.named_parameters(), adapters.denoiser.parameters(), strict=True)
    assert all(torch.equal(w, other.cpu()) for (n, w), other in pairs if "lora" in n)


SEARCHES: dict[str, Callable[[DiffusionPolicy], Any]] = {
    "reno": lambda p: noise_optimise(p, contrast, PROMPTS, sampling=Denoising(1, 1.0, 0.0), iterations=3).history,
    "best-of-n": lambda p: best_of_n(p, face(), PROMPTS, 3, SDE)[1].values,
}
"""Values of what searches of pictures find; one of the catalogue by its name there."""


def test_searching_and_probing_pictures_is_as_on_the_cpu(far: torch.device) -> None:
    def found(device: torch.device) -> dict[str, float]:
        p = policy("sd").to(device)
        values = [search(p) for search in SEARCHES.values()]
        measures = Probe(p, PROMPTS, {"r": face()}, SDE, n=2, reference=p.freeze("now"))(0)
        clean = p.pictures.latents([picture(0), picture(1)])
        there = invert(p, clean, PROMPTS, steps=3, eta=0.5, to=torch.tensor([1, 3])), renoise(p, clean, 4, 2)
        assert all(x.device == CPU for x in values)
        numbers = [*torch.cat([x.flatten() for x in values]), *(x.square().mean() for x in there)]
        return {**measures, **{str(i): float(v) for i, v in enumerate(numbers)}}

    both(far, found, rel=1e-3, absolute=1e-3)  # KL: a mean of squares of what nearly cancels


def test_rewards_of_portraits_follow_the_pictures(far: torch.device) -> None:
    """Their readers lie where the pictures do, compute in single precision, and see pictures of any size."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    made = {
        "wishes": proxies.PromptReader(), "structure": proxies.Structure(), "looks": proxies.Looks(),
        "identity": IdentityConsistency(proxies.PortraitFaces()),
    }  # fmt: skip
    prompts = [with_picture("a person, wearing a red hat", images[i].flip(-1)) for i in range(2)]

    def all_of(x: Tensor) -> dict[str, float]:
        shown = x.detach().requires_grad_()
        said = {n: score(r, prompts=prompts, completions=shown) for n, r in made.items()}
        (grad,) = torch.autograd.grad(sum(s.values.sum() for s in said.values()), shown)  # type: ignore[arg-type]
        assert all(s.values.device == x.device for s in said.values())
        numbers = {f"{n} {i}": float(v) for n, s in said.items() for i, v in enumerate(s.values.detach())}
        return {**numbers, "gradient": float(grad.float().norm())}

    should = all_of(images)
    same(all_of(images.to(far)), should, rel=1e-3, absolute=1e-4)
    same(all_of(images), should)  # and back again
    half = all_of(images.bfloat16())
    same(
        {k: v for k, v in half.items() if k != "gradient"},
        {k: v for k, v in should.items() if k != "gradient"},
        rel=0.1,
        absolute=0.1,
    )
    larger = torch.nn.functional.interpolate(images, scale_factor=2)
    assert score(made["looks"], prompts=prompts, completions=larger).values.shape == (2,)
