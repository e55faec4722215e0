"""PRDP and D3PO: properties of their losses, and how an experience is cut."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import losses
from accord.algorithms import D3PO, GRPO, PRDP, Rollout
from accord.algorithms.rollout.trainer import Credited
from accord.engine import Rows, Step, fit
from accord.errors import ConfigError
from accord.losses import reward_difference, step_preference
from accord.policies.base import Rollouts
from accord.policies.diffusion import Denoising, DiffusionPolicy
from tiny_pipelines import FAMILIES, brightness, policy

PROMPTS = ["a red cat", "a person"]
SDE = Denoising(steps=3, guidance=2.0, eta=1.0)


def nudge(p: DiffusionPolicy, by: float = 1e-3) -> DiffusionPolicy:
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for w in p.denoiser.parameters():
            w.add_(by * torch.randn(w.shape, generator=g))
    return p


def gradient(algorithm: Rollout, experience: Any) -> list[Tensor]:
    weights = [w for w in algorithm.policy.denoiser.parameters() if w.ndim == 2]
    return [g for g in torch.autograd.grad(algorithm(experience).sum, weights, allow_unused=True) if g is not None]


def near(a: list[Tensor], b: list[Tensor]) -> bool:
    """Equal but for rounding, as whole gradients."""
    x, y = (torch.cat([g.flatten() for g in gs]) for gs in (a, b))
    return float((x - y).norm()) < 2e-4 * float(x.norm())


# PRDP


def of_groups(h: Tensor, old: Tensor, r: Tensor, group: Tensor, **options: Any) -> Tensor:
    mask = torch.ones_like(h, dtype=torch.bool)
    return reward_difference(h, old, r, group, mask, **{"beta": 1.0, "clip": 1e9, **options})


def test_prdp_is_zero_at_the_tilted_optimum_and_only_there() -> None:
    r, beta = torch.tensor([0.3, -1.0, 2.0, 0.7]), 0.5
    reference = torch.log_softmax(torch.randn(4, generator=torch.Generator().manual_seed(0)), 0)
    logits = (reference + r / beta).requires_grad_()
    group = torch.zeros(4, dtype=torch.long)

    def loss(logits: Tensor) -> Tensor:
        h = (torch.log_softmax(logits, 0) - reference)[:, None]
        return of_groups(h, h.detach(), r, group, beta=beta).sum()

    at_optimum = loss(logits)
    (g,) = torch.autograd.grad(at_optimum, logits)
    assert float(at_optimum.detach()) < 1e-6
    assert float(g.abs().max()) < 1e-4
    assert float(loss(logits.detach() + torch.tensor([0.1, 0.0, 0.0, 0.0]))) > 1e-3


def test_small_beta_is_reinforce_with_the_group_mean() -> None:
    g = torch.Generator().manual_seed(1)
    h = torch.randn(6, 5, generator=g).requires_grad_()
    r, group = torch.randn(6, generator=g), torch.tensor([0, 0, 0, 1, 1, 1])
    (found,) = torch.autograd.grad(of_groups(h, h.detach(), r, group, beta=1e-5).sum(), h)
    mean = torch.stack([r[group == k].mean() for k in group])
    (wanted,) = torch.autograd.grad((-(r - mean) * h.sum(-1)).sum(), h)
    assert float(torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)) > 0.999


def test_a_beta_that_can_be_reached_is_no_reinforce_any_more() -> None:
    """Once log-ratios have come near the targets ``r / beta``, what is left to predict points elsewhere than the rewards."""
    g = torch.Generator().manual_seed(1)
    h, r, group = torch.randn(8, 5, generator=g).requires_grad_(), torch.randn(8, generator=g), torch.arange(8) // 4
    mean = torch.stack([r[group == k].mean() for k in group])
    (reinforce,) = torch.autograd.grad((-(r - mean) * h.sum(-1)).sum(), h)

    def along(beta: float) -> float:
        (found,) = torch.autograd.grad(of_groups(h, h.detach(), r, group, beta=beta).sum(), h)
        return float(torch.cosine_similarity(found.flatten(), reinforce.flatten(), dim=0))

    reached = float(r.std() / h.detach().sum(-1).std())
    assert along(reached) < 0.9 < 0.99 < along(reached / 50)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-3, 3))
def test_prdp_sees_differences_within_prompts_only(seed: int, more: float, shift: float) -> None:
    g = torch.Generator().manual_seed(seed)
    h, old = torch.randn(6, 4, generator=g), torch.randn(6, 4, generator=g)
    r, group = torch.randn(6, generator=g), torch.tensor([0, 1, 0, 1, 0, 1])
    each = of_groups(h, old, r, group, clip=0.2)
    first = (group == 0).float()
    assert torch.allclose(of_groups(h, old, r + more * first, group, clip=0.2), each, rtol=1e-3, atol=1e-3)
    moved = shift * first[:, None]
    assert torch.allclose(of_groups(h + moved, old + moved, r, group, clip=0.2), each, rtol=1e-3, atol=1e-3)
    order = torch.randperm(6, generator=g)
    assert torch.allclose(
        of_groups(h[order], old[order], r[order], group[order], clip=0.2), each[order], rtol=1e-4, atol=1e-4
    )
    assert bool((each.sum() >= of_groups(h, old, r, group).sum() - 1e-4).all())


def test_prdp_stops_where_all_steps_have_moved_far_enough_and_not_where_they_moved_wrongly() -> None:
    old = torch.zeros(2, 3)
    r, group = torch.tensor([1.0, -1.0]), torch.tensor([0, 0])
    for direction, stopped in ((1.0, True), (-1.0, False)):
        h = (0.5 * direction * torch.tensor([[1.0], [-1.0]]) * torch.ones(2, 3)).requires_grad_()
        (found,) = torch.autograd.grad(of_groups(h, old, r, group, beta=0.01, clip=0.1).sum(), h)
        assert bool((found == 0).all()) is stopped
    at_old = torch.zeros(2, 3, requires_grad=True)
    (clipped,) = torch.autograd.grad(of_groups(at_old, old, r, group, clip=0.1).sum(), at_old)
    (free,) = torch.autograd.grad(of_groups(at_old, old, r, group).sum(), at_old)
    assert torch.allclose(clipped, free)


def test_a_huge_beta_pulls_back_to_the_reference_and_ties_say_nothing() -> None:
    h = torch.tensor([[1.0], [-2.0], [0.5]])
    r, group = torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, dtype=torch.long)
    pairs = [(0, 1), (0, 2), (1, 2)]
    wanted = sum((float(h[i]) - float(h[j])) ** 2 for i, j in pairs) / 3
    assert float(of_groups(h, h, r, group, beta=1e9).sum()) == pytest.approx(wanted, rel=1e-4)
    assert float(of_groups(h, h, torch.ones(3), group).sum()) == 0.0


def test_a_mean_over_steps_is_a_sum_with_a_smaller_beta() -> None:
    g = torch.Generator().manual_seed(3)
    h, r, group = torch.randn(4, 5, generator=g), torch.randn(4, generator=g), torch.zeros(4, dtype=torch.long)
    mean, total = of_groups(h, h, r, group, beta=2.0, reduce="mean"), of_groups(h, h, r, group, beta=2.0 / 5)
    assert torch.allclose(mean * 25, total, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_chunks_have_the_gradient_of_the_whole_graph(family: str) -> None:
    p = policy(family)
    algorithm = PRDP(p, brightness, beta=0.05, group_size=3, sampling=SDE)
    experience = algorithm.experience(Rows(PROMPTS), Step(0, 0))
    nudge(p)
    whole = gradient(algorithm, experience)
    p.at_once = 4
    parts = gradient(algorithm, experience)
    assert any(float(g.abs().max()) > 1e-4 for g in whole)
    assert near(whole, parts)


# D3PO


def test_step_preference_is_log_2_at_the_reference_and_the_better_one_gains() -> None:
    d = torch.zeros(2, 3, requires_grad=True)
    group = torch.tensor([0, 0])
    loss = step_preference(d, torch.tensor([1.0, 0.0]), group, beta=0.1)
    assert torch.allclose(loss.sum(0), torch.full((3,), math.log(2)))
    (better_first,) = torch.autograd.grad(loss.sum(), d)
    (better_last,) = torch.autograd.grad(step_preference(d, torch.tensor([0.0, 1.0]), group, beta=0.1).sum(), d)
    assert bool((better_first[0] < 0).all())
    assert torch.equal(better_first, -better_last)
    assert not step_preference(d, torch.tensor([1.0, 1.0]), group, beta=0.1).any()


def test_at_the_reference_steps_add_up_to_the_gradient_of_whole_trajectories() -> None:
    r, group = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
    d = torch.zeros(2, 4, requires_grad=True)
    (steps,) = torch.autograd.grad(step_preference(d, r, group, beta=0.3, clip=None).sum(), d)
    (whole,) = torch.autograd.grad(losses.pairwise(0.3 * (d[:1].sum(1) - d[1:].sum(1))).sum(), d)
    assert torch.allclose(steps, whole)
    one = torch.randn(2, 1)
    assert torch.allclose(
        step_preference(one, r, group, beta=0.3, clip=None).sum(), losses.pairwise(0.3 * (one[0] - one[1])).sum()
    )


def test_the_clip_has_no_gradient_outside_and_changes_nothing_inside() -> None:
    r, group = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
    for d in (torch.full((2, 2), 0.5) * torch.tensor([[1.0], [-1.0]]), torch.full((2, 2), 0.02)):
        x = d.clone().requires_grad_()
        (clipped,) = torch.autograd.grad(step_preference(x, r, group, beta=0.1, clip=0.1).sum(), x)
        (free,) = torch.autograd.grad(step_preference(x, r, group, beta=0.1, clip=None).sum(), x)
        assert torch.equal(clipped, free) if float(d.max()) < 0.1 else not clipped.any()


def test_one_shared_state_recovers_the_tilted_policy() -> None:
    """Bradley-Terry verdicts with score Q on actions of one state: the minimiser is ``pi_ref exp(Q / beta) / Z``."""
    g = torch.Generator().manual_seed(0)
    q, beta = torch.tensor([0.0, 1.0, -1.0, 0.5]), 0.7
    reference = torch.log_softmax(torch.randn(4, generator=g), 0)
    a, b = torch.randint(4, (2, 6000), generator=g)
    wins = torch.rand(6000, generator=g) < torch.sigmoid(q[a] - q[b])
    better, worse = torch.where(wins, a, b), torch.where(wins, b, a)
    logits = reference.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=50)
    n = len(a)
    group = torch.arange(n).repeat_interleave(2)
    r = torch.tensor([1.0, 0.0]).repeat(n)

    def closure() -> Tensor:
        optimiser.zero_grad()
        d = torch.log_softmax(logits, 0) - reference
        both = torch.stack([d[better], d[worse]], 1).reshape(-1, 1)
        loss = step_preference(both, r, group, beta=beta, clip=None).sum() / n
        loss.backward()
        return loss

    optimiser.step(closure)
    wanted = torch.softmax(reference + q / beta, 0)
    assert torch.allclose(torch.softmax(logits.detach(), 0), wanted, atol=0.03)


def test_d3po_moves_towards_what_is_preferred() -> None:
    """On its own samples, a small step raises the winners' log-probs over the losers'."""
    p = policy()
    algorithm = D3PO(p, brightness, beta=1.0, sampling=replace(SDE, common_start=True, average=True))
    experience = algorithm.experience(Rows(PROMPTS), Step(0, 0))
    rollouts: Rollouts = experience.rollouts
    starts = rollouts.actions.latents[:, 0]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    r = torch.tensor(brightness(prompts=None, completions=rollouts.completions))
    sign = torch.where(r.reshape(2, 2) == r.reshape(2, 2).amax(1, keepdim=True), 1.0, -1.0).reshape(-1)

    def lead() -> float:
        with torch.no_grad():
            return float((sign[:, None] * p.logprobs(rollouts)).sum())

    before = lead()
    loss = algorithm(experience)
    assert float(loss.sum.detach()) / loss.weight == pytest.approx(math.log(2), rel=1e-4)
    loss.sum.backward()
    with torch.no_grad():
        for w in p.denoiser.parameters():
            if w.grad is not None:
                w.sub_(0.05 * w.grad)
    assert lead() > before


def test_a_pair_that_moved_beyond_d3pos_clip_says_no_more() -> None:
    """Within one experience, piece by piece: with one update for each pair and step the clip acts."""
    p, sampling = policy("sd"), replace(SDE, common_start=True, average=True)
    assert D3PO(p, brightness).sampling == replace(Denoising(), common_start=True, average=True)

    def made(clip: float | None) -> tuple[D3PO, Any]:
        algorithm = D3PO(p, brightness, clip=clip, sampling=sampling, steps_at_once=1)
        return algorithm, algorithm.experience(Rows(PROMPTS), Step(0, 0)).select([0])

    clipped, free = made(0.01), made(None)
    assert near(gradient(*clipped), gradient(*free))
    weights = [w for w in p.denoiser.parameters() if w.requires_grad]
    for _ in range(8):
        algorithm, piece = clipped
        found = torch.autograd.grad(algorithm(piece).sum, weights, allow_unused=True, materialize_grads=True)
        length = torch.cat([g.flatten() for g in found]).norm().clamp(min=1e-9)
        with torch.no_grad():
            for w, g in zip(weights, found, strict=True):
                w.sub_(0.1 * g / length)
    assert not any(g.any() for g in gradient(*clipped))
    assert any(g.any() for g in gradient(*free))


# How an experience is cut


def grpo(p: DiffusionPolicy, **options: Any) -> Rollout:
    return GRPO(p, brightness, group_size=2, sampling=SDE, **options)


@pytest.mark.parametrize("make", [grpo, lambda p, **o: D3PO(p, brightness, sampling=SDE, **o)])
def test_pieces_of_steps_add_up_to_the_whole(make: Callable[..., Rollout]) -> None:
    p = policy()
    whole, cut = make(p), make(p, steps_at_once=1)
    experience, pieces = (a.experience(Rows(PROMPTS), Step(0, 0)) for a in (whole, cut))
    nudge(p)
    assert len(pieces) == 2 * len(experience)
    wanted, found = gradient(whole, experience), None
    weight = 0.0
    for i in range(len(pieces)):
        part = pieces.select([i])
        weight += cut(part).weight
        g = gradient(cut, part)
        found = g if found is None else [a + b for a, b in zip(found, g, strict=True)]
    assert found is not None
    assert weight == pytest.approx(whole(experience).weight)
    assert near(wanted, found)


def test_coupled_episodes_stay_together() -> None:
    p = policy()
    algorithm = PRDP(p, brightness, group_size=3, sampling=SDE)
    experience = algorithm.experience(Rows(PROMPTS), Step(0, 0))
    assert isinstance(experience, Credited)
    assert [len(u.rows) for u in experience.units] == [3, 3]
    nudge(p)
    wanted = gradient(algorithm, experience)
    parts = [gradient(algorithm, experience.select([i])) for i in range(2)]
    assert near(wanted, [a + b for a, b in zip(*parts, strict=True)])
    with pytest.raises(ConfigError, match="couples all steps"):
        PRDP(p, brightness, steps_at_once=1, sampling=SDE)
    with pytest.raises(ConfigError, match="compares with a reference"):
        PRDP(p, brightness, reference=None, sampling=SDE)


def test_prdp_trains_within_the_loop_and_resumes_bit_for_bit(tmp_path: Any) -> None:
    def run(steps: int, out: Any, *, resume: bool = False) -> DiffusionPolicy:
        p = policy()
        fit(PRDP(p, brightness, beta=0.1, group_size=2, sampling=SDE), PROMPTS, steps=steps, batch_size=2, inner_epochs=2,
            micro_batch_size=1, lr=1e-3, out=out, resume=resume, progress=False)  # fmt: skip
        return p

    straight = run(2, tmp_path / "a")
    run(1, tmp_path / "b")
    resumed = run(2, tmp_path / "b", resume=True)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
