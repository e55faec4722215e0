"""Reward backprop through denoising steps, and noise optimisation."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.algorithms import AlignProp, DRaFT, ReFL, RewardBackprop
from accord.algorithms.backprop import Truncation, full, last, per_step, random_last, stop_within, truncation_of
from accord.engine import Rows, Step, fit
from accord.engine.settings import described
from accord.errors import ConfigError, RewardError
from accord.policies import LanguagePolicy
from accord.policies.diffusion import Denoising
from accord.policies.recompute import recomputed
from accord.rewards import Scores
from accord.search import noise_optimise, norm_log_density
from tiny_pipelines import contrast, policy

PROMPTS = ["a red cat", "a person with a hat", "a blue hat", "a cat"]
ODE = Denoising(steps=4, guidance=1.0, eta=0.0)


def gradient(algorithm: RewardBackprop, asked: Any) -> list[Tensor]:
    weights = [w for w in algorithm.policy.parameters() if w.ndim == 2]
    found = torch.autograd.grad(algorithm(asked).sum, weights, allow_unused=True)
    return [g for g in found if g is not None]


def test_training_by_the_gradient_raises_the_reward() -> None:
    algorithm = DRaFT(policy(), contrast, k=2, sampling=ODE)
    reward = fit(algorithm, PROMPTS, steps=15, batch_size=4, lr=2e-3, progress=False).column("reward")
    assert sum(reward[-3:]) > sum(reward[:3]) + 0.05


def test_a_micro_batch_has_the_gradient_of_its_part() -> None:
    algorithm = ReFL(policy(), contrast, last=2, sampling=Denoising(steps=4, guidance=2.0, eta=1.0))
    asked = algorithm.experience(Rows(PROMPTS), Step(3, 0))
    whole = gradient(algorithm, asked)
    parts = [gradient(algorithm, asked.select(rows)) for rows in ([0, 1], [2, 3])]
    for w, a, b in zip(whole, *parts, strict=True):
        assert torch.allclose(w, a + b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_what_is_computed_again_comes_in_parts_and_changes_nothing(guidance: float) -> None:
    p, sampling = policy("sd").train(), Denoising(steps=3, guidance=guidance, eta=1.0)
    for m in p.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.5  # pictures are drawn without, and so are their activations
    found, seen = [], []

    def see(module: Any, args: Any, said: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            seen.append(len(said["sample"]))

    p.denoiser.register_forward_pre_hook(see, with_kwargs=True)
    for at_once, recompute in ((None, False), (None, True), (3, True)):
        p.at_once = at_once
        seen.clear()
        pictures = p.denoise_with_grad(PROMPTS, sampling, grad=2, seed=5, recompute=recompute)
        weights = [w for w in p.parameters() if w.ndim == 2]
        grads = torch.autograd.grad(contrast(prompts=PROMPTS, completions=pictures).sum(), weights, allow_unused=True)
        found.append([pictures, *(g for g in grads if g is not None)])
        assert max(seen) == (3 if at_once else 4) * (2 if guidance > 1 else 1)
    for other in found[1:]:
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(found[0], other, strict=True))


def test_a_step_that_is_made_again_keeps_a_latent() -> None:
    p = policy("sd")

    def kept(steps: int, recompute: bool) -> int:
        sizes: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.update({t.data_ptr(): t.numel()}) or t, lambda t: t
        ):
            p.denoise_with_grad(PROMPTS, ODE, grad=steps, recompute=recompute)
        return sum(size for place, size in sizes.items() if place not in {w.data_ptr() for w in p.parameters()})

    latents = len(PROMPTS) * math.prod(p.latent_shape)
    assert kept(4, True) - kept(1, True) <= 3 * latents
    assert kept(4, False) - kept(1, False) > 100 * latents


@given(rows=st.integers(1, 7), size=st.integers(1, 8), wants_x=st.booleans())
@settings(max_examples=25, deadline=None)
def test_recomputed_is_the_function_itself_with_its_gradient(rows: int, size: int, wants_x: bool) -> None:
    torch.manual_seed(rows)
    w, unused, b = torch.randn(3, 2, requires_grad=True), torch.randn(2, requires_grad=True), torch.randn(rows, 2)
    x = torch.randn(rows, 3, requires_grad=wants_x)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ours = recomputed(lambda x, rows: torch.tanh(x @ w + b[rows]), [w, unused], x, size)
    assert len(kept) == 1
    assert kept[0].data_ptr() == x.data_ptr()
    wanted = [w, unused, *([x] if wants_x else [])]
    pairs = [torch.autograd.grad(y.pow(2).sum(), wanted, allow_unused=True) for y in (ours, torch.tanh(x @ w + b))]
    for got, should in zip(*pairs, strict=True):
        assert (got is None) == (should is None)
        assert got is None or torch.allclose(got, should, atol=1e-5)


@pytest.mark.parametrize("computed", [False, True])
def test_what_trains_unknown_to_recomputed_is_refused_not_forgotten(computed: bool) -> None:
    """A learned word in the prompt, say: its gradient would be lost without a word."""
    leaf = torch.randn(2, requires_grad=True)
    hidden = leaf.exp() if computed else leaf
    out = recomputed(lambda x, rows: x * hidden, [], torch.randn(3, 2, requires_grad=True), 2)
    with pytest.raises(ConfigError, match="recompute=False"):
        out.sum().backward()


def test_refl_at_the_last_step_alone_is_draft_1() -> None:
    """Where the path ends in pure signal the last step's result is its predicted picture."""
    p = policy()
    refl, draft = ReFL(p, contrast, last=1, sampling=ODE), DRaFT(p, contrast, k=1, sampling=ODE)
    for a, b in zip(*(gradient(x, x.experience(Rows(PROMPTS), Step(0, 0))) for x in (refl, draft)), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_steps_are_drawn_within_their_range_and_repeatably() -> None:
    refl, align = (
        ReFL(policy(), contrast, last=3, sampling=ODE),
        AlignProp(policy(), contrast, truncation=random_last(), sampling=ODE),
    )
    stops = [refl.experience(Rows(PROMPTS), Step(i, 0)).carried for i in range(40)]
    steps = [align.experience(Rows(PROMPTS), Step(i, 0)).carried.steps for i in range(60)]
    assert {c.stop for c in stops} == {1, 2, 3}
    assert all(c.steps == (c.stop,) for c in stops)
    assert set(steps) == {(3,), (2, 3), (1, 2, 3), (0, 1, 2, 3)}
    assert stops == [refl.experience(Rows(PROMPTS), Step(i, 0)).carried for i in range(40)]


def test_a_stop_may_carry_more_than_its_last_step() -> None:
    g = torch.Generator().manual_seed(0)
    rule = stop_within(1, 3, last(2))
    assert {rule(4, g).steps for _ in range(40)} == {(0, 1), (1, 2), (2, 3)}
    assert {stop_within(-2, -1, per_step())(4, g).stop for _ in range(40)} == {2, 3}
    assert not stop_within(2, 2, per_step())(4, g).cut


@pytest.mark.parametrize("rule", [last(), last(3), full(), random_last(), per_step(), stop_within(-3, -1), stop_within(1, 2, last(2)),
                                  stop_within(1, 2, per_step())], ids=str)  # fmt: skip
def test_a_truncation_is_what_its_spelling_says(rule: Truncation) -> None:
    assert truncation_of(rule) is rule
    again = truncation_of(str(rule))
    assert again == rule
    draws = [[r(4, g) for _ in range(20)] for r in (rule, again) for g in [torch.Generator().manual_seed(1)]]
    assert draws[0] == draws[1]
    assert described(rule)["name"] == str(rule)


@pytest.mark.parametrize(
    "wrong", ["randm", "last:", "last:x", "per-step:2", "stop-within:1", "stop-within:1:2:3", "last:1:full", "", 3]
)
def test_a_spelling_of_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="truncation="):
        AlignProp(policy(), contrast, truncation=wrong)


def test_what_cannot_be_backpropagated_is_refused() -> None:
    def black_box(*, prompts: Any, completions: Tensor, **columns: Any) -> list[float]:
        return [float(c.mean()) for c in completions]

    algorithm = DRaFT(policy(), black_box, sampling=ODE)
    with pytest.raises(RewardError, match="no gradient in the picture"):
        algorithm(algorithm.experience(Rows(PROMPTS), Step(0, 0)))
    for wrong in (
        last(5),
        last(0),
        stop_within(2, 4),
        stop_within(-5, -1),
        stop_within(2, 1),
        stop_within(1, 3, last(3)),
    ):
        with pytest.raises(ConfigError):
            RewardBackprop(policy(), contrast, sampling=ODE, truncation=wrong)


def test_samples_to_which_the_reward_does_not_apply_weigh_nothing() -> None:
    def nowhere(*, prompts: Any, completions: Tensor, **columns: Any) -> Scores:
        return Scores(
            contrast(prompts=prompts, completions=completions), torch.zeros(len(completions), dtype=torch.bool)
        )

    p = policy()
    before = [w.clone() for w in p.parameters()]
    run = fit(DRaFT(p, nowhere, sampling=ODE), PROMPTS, steps=1, batch_size=4, lr=1e-2, progress=False)
    assert run.metrics[0]["loss"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, p.parameters(), strict=True))


class Plain:
    """A generator whose picture is its noise: optima are known in closed form."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def noise(self, rows: int, seed: int) -> Tensor:
        rows_ = [torch.randn(self.shape, generator=torch.Generator().manual_seed(seed + 7 * i)) for i in range(rows)]
        return torch.stack(rows_)

    def denoise_with_grad(self, prompts: Any, sampling: Any, *, start: Tensor, **options: Any) -> Tensor:
        return start * 1.0


def test_norm_density_peaks_at_the_usual_norm_of_gaussian_noise() -> None:
    e = (
        torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        .float()
        .requires_grad_()
    )
    (grad,) = torch.autograd.grad(norm_log_density(e).sum(), e)
    squared = e.flatten(1).square().sum(-1)[:, None, None, None]
    assert torch.allclose(grad, ((256 - 1) / squared - 1) * e, atol=1e-5)
    r = torch.linspace(1, 40, 2000)
    density = norm_log_density(r[:, None] * torch.eye(256)[:1])
    assert float(r[density.argmax()]) == pytest.approx(math.sqrt(255), abs=0.03)


def test_without_a_reward_only_the_norm_moves() -> None:
    plain = Plain(4, 4, 4)
    start = plain.noise(2, 0)
    nothing = lambda prompts, completions, **columns: 0 * completions.sum((1, 2, 3))  # noqa: E731
    found = noise_optimise(
        plain, nothing, ["a", "b"], sampling=Denoising(steps=1), iterations=400, lr=0.5, norm_weight=0.1
    )
    assert torch.allclose(found.norms[-1], torch.full((2,), math.sqrt(63)), atol=0.05)
    assert torch.equal(found.noise, start)  # the first one is as good as any later one


def test_linear_reward_has_the_closed_form_optimum() -> None:
    a = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(1))
    linear = lambda prompts, completions, **columns: (completions * a).sum((1, 2, 3))  # noqa: E731
    weight = 0.5
    found = noise_optimise(
        Plain(4, 4, 4),
        linear,
        ["a"],
        sampling=Denoising(steps=1),
        iterations=1500,
        lr=0.2,
        clip=0.3,
        norm_weight=weight,
    )
    k = float(a.norm()) / weight
    best = (k + math.sqrt(k * k + 4 * 63)) / 2
    last = found.noise[0]
    assert float(found.norms[-1, 0]) == pytest.approx(best, rel=0.02)
    assert float(torch.cosine_similarity(last.flatten(), a.flatten(), dim=0)) > 0.999


def test_each_prompt_is_optimised_on_its_own_and_never_gets_worse() -> None:
    p = policy()
    before = [w.clone() for w in p.parameters()]
    options = Denoising(steps=1, guidance=1.0, eta=0.0)
    found = noise_optimise(p, contrast, PROMPTS[:2], sampling=options, iterations=6, lr=0.5)
    assert (found.values >= found.history[0]).all()
    assert torch.allclose(found.values, found.history.max(0).values)
    assert torch.allclose(p.denoise_with_grad(PROMPTS[:2], options, start=found.noise), found.images, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, p.parameters(), strict=True))
    alone = noise_optimise(p, contrast, PROMPTS[:1], sampling=options, iterations=6, lr=0.5)
    assert torch.allclose(alone.history[:, 0], found.history[:, 0], atol=1e-4)
    held = noise_optimise(p, contrast, PROMPTS[:2], sampling=options, iterations=6, lr=0.5, recompute=False)
    assert torch.allclose(held.history, found.history, atol=1e-4), "what is computed again is the same"
    steps = found.norms.diff(dim=0).abs()
    assert float(steps.max()) <= 0.5 * 0.1 / (1 - 0.9) + 1e-4


def test_noise_of_text_is_no_thing_to_optimise(base_policy: LanguagePolicy) -> None:
    with pytest.raises(ConfigError, match="wants a policy that makes pictures from noise"):
        noise_optimise(base_policy, contrast, PROMPTS, sampling=ODE)
    with pytest.raises(ConfigError, match="wants a policy that makes pictures by denoising"):
        ReFL(base_policy, contrast)
