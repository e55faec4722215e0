"""The trained parts of the world of portraits: the gold is right and can't be fooled by its own residual, proxies know their job."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from accord.errors import ModelError
from accord.feedback import with_picture
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.rewards import Reward
from accord.worlds.portraits import Looks, PortraitFaces, PromptReader, Structure, pipeline, policy, prompts
from accord.worlds.portraits.check import reconstructed
from accord.worlds.portraits.distort import climbed, coloured, spoilt, twisted
from accord.worlds.portraits.generator import SAMPLING, adapted
from accord.worlds.portraits.gold import Estimate, estimate, gold, limit
from accord.worlds.portraits.people import People
from accord.worlds.portraits.prompts import describe, fulfilled
from accord.worlds.portraits.render import render
from accord.worlds.portraits.twins import build_transformer, flow_pipeline

N = 48
PEOPLE = People.draw(N, 4_242)
TRUE = describe(PEOPLE, 7, mention=1.0)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """What the autoencoder gives back of people whom nothing was trained on."""
    return reconstructed(render(PEOPLE).image, pipeline().vae)


def test_gold_finds_every_true_wish_fulfilled_and_the_wrong_ones_not(pictures: Tensor) -> None:
    right = gold(prompts=TRUE, completions=pictures).aspects
    wrong = gold(prompts=TRUE[1:] + TRUE[:1], completions=pictures).aspects
    assert float(right["valid"].mean()) >= 0.9
    assert float(right["prompt"].mean()) > 0.98
    assert float(wrong["prompt"].mean()) < 0.6


def test_gold_knows_people_from_strangers(pictures: Tensor) -> None:
    same = gold(prompts=TRUE, completions=pictures, person=list(PEOPLE.identity)).aspects["identity"]
    other = gold(prompts=TRUE, completions=pictures, person=list(PEOPLE.identity.roll(1, 0))).aspects["identity"]
    assert float(same.mean()) > float(other.mean()) + 0.4
    assert float((same > other).float().mean()) > 0.95


def test_gold_is_what_a_picture_shows_times_how_sound_it_is(pictures: Tensor) -> None:
    bent = twisted(pictures, torch.full((N,), 2.0), torch.Generator().manual_seed(0))
    for person in (None, list(PEOPLE.identity)):
        said = gold(prompts=TRUE, completions=bent, person=person)
        shows = (
            said.aspects["prompt"] if person is None else 0.6 * said.aspects["identity"] + 0.4 * said.aspects["prompt"]
        )
        assert torch.allclose(said.values, said.aspects["structure"] * shows)
        assert float(said.aspects["prompt"].mean()) > 0.9  # as read, though it is hardly a portrait any more
        assert not said.aspects["valid"].any()


def test_value_falls_with_the_residual_and_nowhere_by_a_cliff() -> None:
    left = torch.linspace(0, 4 * limit(), 401)
    sound = Estimate(PEOPLE, left).soundness
    assert float(sound[0]) == 1
    assert float(sound[100]) == pytest.approx(0.5)  # at the limit
    assert float(sound[-1]) < 0.01
    assert 0 >= float(sound.diff().max()) > float(sound.diff().min()) > -0.02


def test_what_is_no_portrait_gets_no_gold_however_the_estimator_reads_it(pictures: Tensor) -> None:
    g = torch.Generator().manual_seed(0)
    bent = twisted(pictures, torch.full((N,), 2.0), g)
    assert float(gold(prompts=TRUE, completions=bent).values.mean()) < 0.2
    for bad in (coloured(PEOPLE), torch.rand(N, 3, 64, 64, generator=g), torch.full((N, 3, 64, 64), 0.5)):
        assert float(gold(prompts=TRUE, completions=bad).values.mean()) < 0.02


@pytest.mark.parametrize("reward", [PromptReader(), Structure(), Looks()])
def test_no_picture_gains_gold_by_climbing_a_proxy(pictures: Tensor, reward: Reward) -> None:
    others, few = TRUE[1:13], pictures[:12]
    up = climbed(few, lambda x: reward(prompts=others, completions=x).values, steps=10)
    proxy, true = ([f(prompts=others, completions=x).values.mean() for x in (few, up)] for f in (reward, gold))
    assert float((up - few).abs().max()) <= 8 / 255 + 1e-6
    assert float(proxy[1]) > float(proxy[0])
    assert float(true[1]) < float(true[0]) + 0.02


def test_face_encoder_puts_pictures_of_one_person_nearer_than_strangers(pictures: Tensor) -> None:
    again = reconstructed(render(People.draw(N, 99).with_identity(PEOPLE.identity)).image, pipeline().vae)
    a, b = (PortraitFaces()(x)[0] for x in (pictures, again))
    assert torch.allclose(a.norm(dim=-1), torch.ones(N), atol=1e-5)
    assert float(((a @ b.T).argmax(1) == torch.arange(N)).float().mean()) > 0.5
    assert float((a * b).sum(-1).mean()) > float((a * b.roll(1, 0)).sum(-1).mean()) + 0.3


def test_prompt_reader_prefers_true_prompts_and_has_a_gradient(pictures: Tensor) -> None:
    x = pictures.clone().requires_grad_()
    right = PromptReader()(prompts=TRUE, completions=x).values
    wrong = PromptReader()(prompts=TRUE[1:] + TRUE[:1], completions=pictures).values
    assert float((right > wrong).float().mean()) > 0.95
    assert float(right.detach().min()) > 0
    assert float(right.detach().max()) < 1
    (gradient,) = torch.autograd.grad(right.sum(), x)
    assert bool(torch.isfinite(gradient).all())


def test_structure_falls_with_every_pixel_of_twisting_and_its_gradient_mends_it(pictures: Tensor) -> None:
    g = torch.Generator().manual_seed(2)
    bent = [twisted(pictures, torch.full((N,), amount), g) for amount in (1.0, 2.0, 4.0)]
    values = [Structure()(prompts=TRUE, completions=x).values for x in (pictures, *bent)]
    assert all(float((a > b).float().mean()) > 0.9 for a, b in pairwise(values))
    x = bent[1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Structure()(prompts=TRUE, completions=x).values.sum(), x)
    before, after = (estimate(y).residual for y in (bent[1], (x + 0.005 * gradient.sign()).detach().clamp(0, 1)))
    assert float((after < before).float().mean()) > 0.9  # as the gold sees it, by a network of its own


def test_image_adapter_draws_whom_the_prompt_shows() -> None:
    trained, asked = adapted(), prompts(24, 12)
    with torch.no_grad():
        shown, _ = PortraitFaces()(render(PEOPLE[range(24)]).image)
    rows = {"with": [with_picture(t, v) for t, v in zip(asked, shown, strict=True)], "without": asked}
    drawn = {
        k: trained.sample(r, 1, Denoising(steps=10, guidance=1.0, eta=1.0), seed=3).completions for k, r in rows.items()
    }
    like = {k: (PortraitFaces()(torch.stack(x))[0] * shown).sum(-1).mean() for k, x in drawn.items()}
    assert float(like["with"]) > float(like["without"]) + 0.1


def test_looks_put_sound_pictures_above_spoilt_ones_and_never_above_zero(pictures: Tensor) -> None:
    g = torch.Generator().manual_seed(1)
    sound = Looks()(prompts=TRUE, completions=pictures)
    bent = Looks()(prompts=TRUE, completions=twisted(pictures, torch.full((N,), 3.0), g))
    dull = Looks()(prompts=TRUE, completions=spoilt(pictures, torch.full((N,), 0.8), g))
    assert float(sound.values.max()) <= 0
    assert float((sound.aspects["structure"] > bent.aspects["structure"]).float().mean()) > 0.95
    assert float((sound.aspects["appeal"] > dull.aspects["appeal"]).float().mean()) > 0.95


def test_generator_draws_what_it_is_asked_for_and_guidance_helps() -> None:
    asked = prompts(24, 11)
    said = {}
    for guidance in (1.0, 2.0):
        drawn = policy().sample(asked, 1, Denoising(steps=10, guidance=guidance, eta=0.0), seed=1).completions
        said[guidance] = float(PromptReader()(prompts=asked, completions=drawn).values.mean())
    nothing = policy().sample([""] * 24, 1, Denoising(steps=10, guidance=1.0, eta=0.0), seed=1).completions
    assert said[2.0] > said[1.0] > float(PromptReader()(prompts=asked, completions=nothing).values.mean())


def test_most_of_what_the_generator_draws_as_experiments_do_is_sound() -> None:
    asked = prompts(48, 13)
    said = gold(prompts=asked, completions=policy().sample(asked, 1, SAMPLING["unet"], seed=4).completions).aspects
    assert float(said["valid"].mean()) > 0.7
    assert float(said["prompt"].mean()) > 0.9


def test_a_part_that_is_not_there_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no unet: make it with .*train unet"):
        pipeline("unet", tmp_path)


def test_the_consistency_twin_draws_in_four_steps_what_its_teacher_does_not() -> None:
    asked, four = prompts(24, 12), Denoising(steps=4, guidance=1.0, eta=0.0)
    short = DiffusionPolicy(pipeline("consistency"), "consistency").sample(asked, 1, four, seed=2).completions
    plain = policy().sample(asked, 1, four, seed=2).completions
    golds = [float(gold(prompts=asked, completions=x).values.mean()) for x in (short, plain)]
    assert golds[0] > golds[1]


def test_flow_twin_reads_prompts_as_the_generator_does_and_draws_what_its_pipeline_draws() -> None:
    like = pipeline()
    twin = flow_pipeline(build_transformer(), like)
    ids = like.tokenizer(TRUE[:4], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        own, other = (p.text_encoder(ids, output_hidden_states=True) for p in (like, twin))
    assert torch.equal(own.hidden_states[-2], other.hidden_states[-2])
    assert torch.allclose(own.pooler_output, other.text_embeds)
    start = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    drawn = DiffusionPolicy(twin, "twin").sample(TRUE[:2], 1, Denoising(steps=3, guidance=2.0, eta=0.0), start=start)
    images = twin(TRUE[:2], num_inference_steps=3, guidance_scale=2.0, latents=start, output_type="pt").images
    assert torch.allclose(torch.stack(drawn.completions), images, atol=1e-4)


def test_flow_twin_draws_what_prompts_ask() -> None:
    asked = prompts(24, 99)
    drawn = policy("flow").sample(asked, 1, SAMPLING["flow"], seed=1).completions
    read = estimate(torch.stack(drawn)).people.attributes
    met, wished = fulfilled(asked, read)
    others, theirs = fulfilled(asked[1:] + asked[:1], read)
    assert float(met[wished].float().mean()) > 0.8
    assert float(met[wished].float().mean()) > float(others[theirs].float().mean()) + 0.2
