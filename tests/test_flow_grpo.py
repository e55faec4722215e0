"""Flow-GRPO and DiffusionNFT: what they are where they become other methods, and how they move a policy."""

import math
from typing import Any

import pytest
import torch

from accord import algorithms as a
from accord.engine import Rows, Step
from accord.errors import ConfigError
from accord.evaluation import Probe
from accord.policies.diffusion import Denoising, DiffusionPolicy
from tiny_families import policy
from tiny_pipelines import brightness, gradient, near, nudge

PROMPTS = Rows(["a red cat", "a person with a hat"])
FEW = {"steps": 4, "guidance": 2.0}


def trained() -> DiffusionPolicy:
    p = policy("flux-schnell", lora=2)
    nudge(p)
    return p


def test_the_spread_is_flow_grpos_where_steps_are_many() -> None:
    """``a sqrt(t / (1 - t)) sqrt(dt)``."""
    schedule = policy("flux-schnell").schedule(400)
    for i in (80, 200, 320):
        t, dt = float(schedule.sigma[i]), float(schedule.sigma[i] - schedule.sigma[i + 1])
        assert schedule.std(i, 0.7 / math.sqrt(2)) == pytest.approx(0.7 * math.sqrt(t / (1 - t) * dt), rel=0.02)


def test_on_all_steps_it_is_grpo() -> None:
    p = trained()
    same = Denoising(4, 2.0, 0.5, average=True)
    ours = a.FlowGRPO(p, brightness, clip=0.2, group_size=2, sampling=FEW)
    theirs = a.GRPO(p, brightness, group_size=2, sampling=same)
    found, wanted = (gradient(x, x.experience(PROMPTS, Step(3, 1))) for x in (ours, theirs))
    assert torch.equal(found, wanted)


def test_a_window_trains_its_steps_alone_and_a_prompts_pictures_part_there() -> None:
    algorithm = a.FlowGRPO(trained(), brightness, window=1, group_size=2, sampling=FEW)
    drawn = algorithm.experience(PROMPTS[:1], Step(0, 1)).rollouts
    assert drawn.mask.tolist() == [[False, True, False, False]] * 2
    latents = drawn.actions.latents
    assert torch.equal(latents[0, :2], latents[1, :2])
    assert not torch.allclose(latents[0, 2], latents[1, 2], atol=1e-2)
    eta = algorithm.sampling.eta
    windows = {algorithm.within(Step(number, 1)).eta for number in range(20)}
    assert windows == {(eta, 0.0, 0.0, 0.0), (0.0, eta, 0.0, 0.0)}, "in the first half"
    with pytest.raises(ConfigError, match="eta as one number"):
        a.FlowGRPO(trained(), brightness, window=1, sampling={**FEW, "eta": (1.0, 0.0, 0.0, 0.0)})
    with pytest.raises(ConfigError, match="window wants between 1 and 4"):
        a.FlowGRPO(trained(), brightness, window=5, sampling=FEW)


def test_its_kl_is_that_of_the_step_over_the_latent_whether_log_probs_are_means_or_sums() -> None:
    p = trained()
    found = {}
    for average in (True, False):
        algorithm = a.FlowGRPO(p, alike, kl=0.04, group_size=2, sampling={**FEW, "average": average})
        found[average] = gradient(algorithm, algorithm.experience(PROMPTS, Step(3, 1)))
    assert float(found[False].abs().max()) > 0
    elements = p.noise(1, 0)[0].numel()
    assert torch.allclose(found[True] * elements, found[False], rtol=1e-3, atol=1e-6)


def test_the_kl_on_record_is_one_of_nats_whether_log_probs_are_means_or_sums() -> None:
    p = trained()
    found = [
        Probe(p, list(PROMPTS), {}, Denoising(4, 2.0, 0.5, average=average), seed=1, reference=p.freeze("base"))(0)[
            "kl"
        ]
        for average in (True, False)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[1] > 0


def alike(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [1.0] * len(prompts)


def one(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [1.0 for _ in completions]


def nft(p: DiffusionPolicy, reward: Any, **more: Any) -> a.DiffusionNFT:
    return a.DiffusionNFT(p, reward, group_size=2, levels=2, sampling={**FEW, "eta": 0.0}, **more)


def test_nft_of_good_pictures_alone_is_supervised_training_on_them() -> None:
    p = trained()
    algorithm = nft(p, brightness)
    given = algorithm.experience(PROMPTS, Step(0, 1))
    good = torch.ones_like(given.good)
    object.__setattr__(given, "good", good)
    nudge(p)  # v is not v_old any more
    error = p.likelihood(given.groups, given.draw).error.sum()
    assert algorithm(given).sum.item() == pytest.approx(error.item(), rel=1e-5)


def test_nft_begins_with_the_denoising_loss_weighed_by_twice_what_is_good_less_one() -> None:
    p = trained()
    algorithm = nft(p, brightness, beta=0.5)
    given = algorithm.experience(PROMPTS, Step(0, 1))
    assert given.good.min() < 0.5 < given.good.max()
    weights = [w for w in p.parameters() if w.requires_grad]
    error = p.likelihood(given.groups, given.draw).error
    wanted = torch.autograd.grad((0.5 * (2 * given.good - 1) * error).sum(), weights)
    assert near(torch.cat([g.flatten() for g in wanted]), gradient(algorithm, given))


def test_nft_learns_nothing_where_all_is_alike() -> None:
    algorithm = nft(trained(), one)
    assert float(gradient(algorithm, algorithm.experience(PROMPTS, Step(0, 1))).norm()) < 1e-6


def test_nft_steps_towards_what_is_good_and_away_from_what_is_not() -> None:
    p = trained()
    algorithm = nft(p, brightness)
    given = algorithm.experience(PROMPTS, Step(0, 1))
    before = p.likelihood(given.groups, given.draw).error.detach()
    slopes = gradient(algorithm, given)
    weights = [w for w in p.parameters() if w.requires_grad]
    with torch.no_grad():
        for w, g in zip(weights, slopes.split([w.numel() for w in weights]), strict=True):
            w.sub_(3e-3 / slopes.norm() * g.reshape(w.shape))
    change = p.likelihood(given.groups, given.draw).error.detach() - before
    assert float(((2 * given.good - 1) * change).sum()) < 0


def none(*, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    return [None for _ in completions]


def test_nft_goes_on_where_no_reward_applies() -> None:
    algorithm = nft(trained(), none)
    given = algorithm.experience(PROMPTS, Step(0, 1))
    assert (float(gradient(algorithm, given).norm()), algorithm(given).weight) == (0.0, 0.0)


def test_nft_is_one_however_its_pictures_are_cut_up() -> None:
    p = trained()
    whole, cut = nft(p, brightness), nft(p, brightness, score_batch_size=1)
    given = whole.experience(PROMPTS, Step(0, 1))
    p.at_once = 3
    parts = cut.experience(PROMPTS, Step(0, 1))
    assert torch.equal(given.good, parts.good)
    assert torch.allclose(given.old, parts.old, atol=1e-5)


def test_nft_trains_at_the_guidance_of_its_drawing_where_the_denoiser_is_told_of_it() -> None:
    """At the first step v is v_old; there is no other guidance between them, and none unless told."""
    assert a.DiffusionNFT(trained(), brightness).sampling.guidance == 1.0
    p = policy("flux-dev")
    algorithm = nft(p, brightness)
    given = algorithm.experience(PROMPTS, Step(0, 1))
    at = {g: p.denoised(given.groups, given.draw, g)[0] for g in (1.0, 2.0)}
    assert torch.allclose(given.old, at[2.0], atol=1e-5)
    assert not torch.allclose(at[1.0], at[2.0], atol=1e-3)
    true = trained()
    groups, draw = given.groups, given.draw
    assert torch.equal(*(true.denoised(groups, draw, g)[0] for g in (1.0, 2.0))), "schnell knows none"
