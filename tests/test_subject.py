"""InPO, AlignProp's truncations, joint streams and ID-Aligner: properties from their papers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.algorithms import (
    AlignProp,
    DiffusionDPO,
    DRaFT,
    IDAligner,
    InPO,
    Joint,
    ReFL,
    Stream,
    Supervised,
)
from accord.algorithms.backprop import Carried, full, last, per_step
from accord.engine import Rows, Step, fit
from accord.engine.seeds import generator
from accord.errors import ConfigError
from accord.feedback import Comparison, Example, with_picture
from accord.identity import CallableEncoder, IdentityConsistency
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.rewards import combine
from tiny_pipelines import FAMILIES, contrast, gradient, near, nudge, picture, policy

PROMPTS = ["a red cat", "a person"]
ODE = Denoising(steps=4, guidance=1.0, eta=0.0)


def colours(images: Tensor) -> Tensor:
    return images.mean((2, 3)) - 0.4


def comparisons(n: int = 2) -> Rows:
    return Rows(Comparison(prompt=PROMPTS[i % 2], chosen=picture(2 * i), rejected=picture(2 * i + 1)) for i in range(n))


# InPO


@pytest.mark.parametrize("family", FAMILIES)
def test_inpo_is_diffusion_dpo_at_its_own_latents(family: str) -> None:
    p = policy(family, lora=2)
    ours, plain = InPO(p, beta=100.0, levels=3), DiffusionDPO(p, beta=100.0)
    given_ours = ours.experience(comparisons(), Step(0, 0))
    assert float(ours(given_ours).sum.detach()) / 2 == pytest.approx(math.log(2), rel=1e-5)
    nudge(p)
    loss = ours(given_ours)
    assert float(loss.sum.detach()) == pytest.approx(float(plain(given_ours).sum.detach()), rel=1e-6)
    swapped = Rows(Comparison(prompt=c.prompt, chosen=c.rejected, rejected=c.chosen) for c in comparisons())
    lead = loss.metrics["margin"].value
    other = ours(_like(given_ours, ours.experience(swapped, Step(0, 0))))
    assert other.metrics["margin"].value == pytest.approx(-lead, rel=1e-3, abs=1e-7)


def _like(first: Any, swapped: Any) -> Any:
    """The first's draw and reference with both sides exchanged."""
    draw = type(first.draw)(first.draw.level, first.draw.noise.flip(1))
    return type(first)(swapped.rows, swapped.groups, draw, first.reference.flip(1))


def test_an_error_in_the_picture_is_the_error_in_the_noise_scaled() -> None:
    """``|x_0 - x0_theta(t)|^2 = (sigma / alpha)^2 |eps_theta - tau|^2``."""
    p = policy("sd")
    schedule = p.schedule(5)
    clean, noise = p.noise(2, 0), p.noise(2, 1)
    a, s = float(schedule.alpha[1]), float(schedule.sigma[1])
    x = a * clean + s * noise
    eps = p.predict(x, float(schedule.timesteps[1]), p.condition(PROMPTS)).detach()
    missed = (clean - schedule.picture(x, eps, 1)).square().sum()
    assert float(missed) == pytest.approx((s / a) ** 2 * float((eps - noise).square().sum()), rel=1e-5)


# AlignProp


def test_per_step_truncation_keeps_later_steps_more_often() -> None:
    g, steps, n = generator(0), 6, 5000
    counts = torch.zeros(steps)
    for _ in range(n):
        counts[list(per_step()(steps, g).steps)] += 1
    wanted = torch.tensor([(i + 1) / (steps + 1) for i in range(steps - 1)] + [1.0])
    assert torch.allclose(counts / n, wanted, atol=0.025)


def test_per_step_truncation_between_its_limits() -> None:
    """All steps kept is the whole chain, only the last kept is DRaFT-1, in value and gradient."""
    p = policy(lora=2)
    nudge(p)
    asked = AlignProp(p, contrast, truncation=full(), sampling=ODE).experience(Rows(PROMPTS), Step(0, 0))
    weights = [w for w in p.parameters() if w.requires_grad]

    def grad(**options: Any) -> Tensor:
        images = p.denoise_with_grad(PROMPTS, ODE, seed=asked.seeds, **options)
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(contrast(prompts=None, completions=images).sum(), weights)]
        )

    assert near(grad(grad=[0, 1, 2, 3], cut=False), grad(grad=4))
    assert near(grad(grad=[3], cut=False), grad(grad=1))
    # A dropped step in between still passes the gradient along the latent; a cut doesn't.
    through, cut = grad(grad=[0, 3], cut=False), grad(grad=[0, 3])
    assert not near(through, cut)
    assert near(cut, grad(grad=1))
    algorithm = AlignProp(p, contrast, truncation=per_step(), sampling=ODE)
    assert all(3 in algorithm.experience(Rows(PROMPTS), Step(i, 0)).carried.steps for i in range(20))
    fixed, one = AlignProp(p, contrast, truncation=last(), sampling=ODE), replace(asked, carried=Carried((3,)))
    assert torch.equal(gradient(fixed, one), gradient(DRaFT(p, contrast, sampling=ODE), one))


def test_alignprop_cuts_the_chain_once_an_update_at_every_depth_alike() -> None:
    p, depths = policy("sd", lora=2), []
    for i in range(400):
        carried = AlignProp(p, contrast, sampling=ODE).truncation(4, generator(i))
        assert carried.steps == tuple(range(carried.steps[0], 4))
        depths.append(len(carried.steps))
    assert torch.allclose(torch.tensor(depths).bincount(minlength=5)[1:] / 400, torch.tensor(0.25), atol=0.08)
    nudge(p)
    weights = [w for w in p.parameters() if w.requires_grad]
    cut, constant = (
        torch.autograd.grad(contrast(prompts=None, completions=p.denoise_with_grad(PROMPTS, ODE, grad=[2, 3], cut=c)).sum(), weights)
        for c in (True, False)
    )  # fmt: skip
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(cut, constant, strict=True))


class Scalar(torch.nn.Module):
    """``output = w x``, whatever it is told."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.w = config, torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, hidden_states: Tensor, **unused: Any) -> tuple[Tensor]:
        return (self.w * hidden_states,)


def test_chain_derivative_of_a_linear_denoiser() -> None:
    """Flow: ``x_{i+1} = (1 + w (sigma_{i+1} - sigma_i)) x_i``, so the end is a polynomial in w."""
    p = policy()
    p.denoiser = Scalar(p.denoiser.config)
    p.pictures.decode = lambda latents: latents  # type: ignore[method-assign]
    out = p.denoise_with_grad(PROMPTS, ODE, grad=4, seed=1)
    (found,) = torch.autograd.grad(out.square().sum(), [p.denoiser.w])
    sigma = p.schedule(4).sigma.double()
    factors = 1 + 0.3 * (sigma[1:] - sigma[:-1])
    end = float(factors.prod())
    slope = end * float(((sigma[1:] - sigma[:-1]) / factors).sum())
    start = float(p.noise(2, 1).square().sum())
    assert float(found) == pytest.approx(2 * end * slope * start, rel=1e-4)


def test_mixing_walks_between_saved_adapters(tmp_path: Any) -> None:
    x, outs = policy("sd").noise(2, 3), []
    for i in range(2):
        p = policy("sd", lora=2)
        with torch.no_grad():
            g = torch.Generator().manual_seed(i)
            for w in p.parameters():
                if w.requires_grad:
                    w.copy_(0.3 * torch.randn(w.shape, generator=g))
        p.save(tmp_path / str(i))
        outs.append(p.predict(x, 300.0, p.condition(PROMPTS)))

    def mixed(*shares: float) -> Tensor:
        p = policy("sd")
        p.mix({tmp_path / str(i): s for i, s in enumerate(shares)})
        return p.predict(x, 300.0, p.condition(PROMPTS))

    assert torch.allclose(mixed(1.0, 0.0), outs[0], atol=1e-5)
    assert torch.allclose(mixed(0.0, 1.0), outs[1], atol=1e-5)
    base = policy("sd")
    assert torch.allclose(mixed(0.0, 0.0), base.predict(x, 300.0, base.condition(PROMPTS)), atol=1e-5)


# Joint streams and ID-Aligner


def examples() -> list[Example]:
    return [Example(prompt=PROMPTS[i % 2], completion=picture(i)) for i in range(4)]


def identity(weight_of: int = 1) -> IdentityConsistency:
    return IdentityConsistency(
        CallableEncoder(colours, differentiable=True), torch.tensor([0.3, -0.2, 0.1]) * weight_of
    )


def trained(algorithm: Any, data: Any) -> list[Tensor]:
    fit(algorithm, data, steps=2, batch_size=2, lr=1e-2, progress=False)
    return [w.detach().clone() for w in algorithm.policy.parameters() if w.requires_grad]


def test_without_its_rewards_id_aligner_is_the_denoising_baseline_bit_for_bit() -> None:
    plain = trained(Supervised(policy("sd", lora=2)), examples())
    off = trained(IDAligner(policy("sd", lora=2), identity(), contrast, id_weight=0.0, aes_weight=0.0, last=2, sampling=ODE),
                  examples())  # fmt: skip
    on = trained(IDAligner(policy("sd", lora=2), identity(), contrast, last=2, sampling=ODE), examples())
    assert all(torch.equal(a, b) for a, b in zip(plain, off, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(plain, on, strict=True))


def test_through_an_image_adapter_id_aligner_is_reward_feedback_alone() -> None:
    asked = [with_picture(t, picture(i)) for i, t in enumerate(PROMPTS)]

    def adapted() -> DiffusionPolicy:
        p = policy("sd")
        p.add_image_adapter(lambda x: (colours(x), torch.ones(len(x), dtype=torch.bool)), 3)
        torch.manual_seed(0)
        torch.nn.init.normal_(next(p.image_adapter.values.parameters()))  # type: ignore[union-attr]
        return p

    before = [w for w in adapted().parameters() if w.requires_grad]
    off = trained(
        IDAligner(adapted(), identity(), contrast, id_weight=0.0, aes_weight=0.0, last=2, sampling=ODE), asked
    )
    on = trained(IDAligner(adapted(), identity(), id_weight=1.0, last=2, sampling=ODE), asked)
    refl = trained(ReFL(adapted(), identity(), last=2, sampling=ODE), asked)
    assert all(torch.equal(a, b) for a, b in zip(before, off, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(refl, on, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, on, strict=True))


def test_id_aligners_gradient_is_the_weighted_sum_of_its_parts() -> None:
    p = policy("sd", lora=2)
    nudge(p)
    whole = IDAligner(p, identity(), contrast, id_weight=0.2, aes_weight=0.5, last=2, sampling=ODE)
    pieces = whole.experience(Rows(examples()[:2]), Step(3, 0))
    denoise = gradient(whole.streams["denoise"].algorithm, pieces.parts["denoise"])
    reward = combine({"a": identity(), "b": contrast}, weights={"a": 0.2, "b": 0.5})
    refl = gradient(ReFL(p, reward, last=2, sampling=ODE), pieces.parts["feedback"])
    assert near(gradient(whole, pieces), denoise + refl)


def test_streams_must_fit_together() -> None:
    p = policy(lora=2)
    with pytest.raises(ConfigError, match="one and the same policy"):
        Joint({"a": Stream(Supervised(p)), "b": Stream(Supervised(policy(lora=2)))})
    with pytest.raises(ConfigError, match="prompts are the data"):
        IDAligner(p, identity(), denoise=False, prompts=PROMPTS, last=2, sampling=ODE)
    own = Joint({"a": Stream(Supervised(p)), "b": Stream(Supervised(p), weight=0.5, data=examples())})
    pieces = own.experience(Rows(examples()[:3]), Step(0, 0))
    again = own.experience(Rows(examples()[:3]), Step(0, 0))
    assert len(pieces) == 3
    assert torch.equal(gradient(own, pieces), gradient(own, again))
