"""The world of portraits: what is drawn, what is asked, what spoils a picture. Trained parts have their own tests."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import ConfigError
from accord.worlds.portraits.distort import spoilt, twisted
from accord.worlds.portraits.people import ATTRIBUTES, HELD_OUT, IDENTITY, People
from accord.worlds.portraits.prompts import PHRASES, Wish, describe, fulfilled, prompts, read_prompt, write_prompt
from accord.worlds.portraits.render import COLOURS, LANDMARKS, render

# Drawing


def test_parts_cover_every_pixel_once() -> None:
    picture = render(People.draw(6, 0, held_out=None))
    total = torch.stack(list(picture.masks.values())).sum(0)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-4)
    assert float(picture.image.min()) >= 0
    assert float(picture.image.max()) <= 1
    assert float(picture.depth.min()) >= 0
    assert float(picture.depth.max()) <= 1 + 1e-5


def test_pictures_are_repeatable_and_independent_of_their_neighbours() -> None:
    people = People.draw(5, 3)
    again = People.draw(5, 3)
    whole = render(people).image
    assert torch.equal(whole, render(again).image)
    assert torch.allclose(whole[2:3], render(people[2:3]).image, atol=1e-6)
    assert not torch.allclose(render(People.draw(5, 4)).image, whole)


@pytest.mark.parametrize(("landmark", "part"), [("left eye", "eyes"), ("right eye", "eyes"), ("nose", "nose")])
def test_landmarks_lie_on_their_parts(landmark: str, part: str) -> None:
    people = People.draw(20, 1).wearing(glasses="none", hat="none", expression="neutral")
    picture = render(people)
    x, y = picture.landmarks[:, LANDMARKS.index(landmark)].round().long().clamp(0, 63).T
    there = picture.masks[part][torch.arange(20), y, x]
    assert float(there.mean()) > 0.6


@pytest.mark.parametrize(("attribute", "part"), [("background", "background"), ("clothes", "clothes"), ("hat", "hat")])
def test_named_colours_show_where_they_belong(attribute: str, part: str) -> None:
    for value in ATTRIBUTES[attribute]:
        if value == "none":
            continue
        picture = render(People.draw(4, 2).wearing(**{attribute: value}))
        mask = picture.masks[part] > 0.9
        colour = torch.stack([x[:, m].mean(1) for x, m in zip(picture.image, mask, strict=True)])
        table = torch.tensor([COLOURS[v] for v in ATTRIBUTES[attribute] if v != "none"])
        names = [v for v in ATTRIBUTES[attribute] if v != "none"]
        nearest = [names[int((table - c).square().sum(-1).argmin())] for c in colour]
        if attribute == "background":  # a wall is paler: compare hues
            hue = torch.nn.functional.normalize(colour - colour.mean(1, keepdim=True), dim=1)
            own = torch.nn.functional.normalize(
                torch.tensor(COLOURS[value]) - torch.tensor(COLOURS[value]).mean(), dim=0
            )
            assert value == "white" or bool((hue @ own > 0.8).all())
        else:
            assert nearest == [value] * 4


def test_only_what_is_worn_is_drawn() -> None:
    bare = render(People.draw(4, 5).wearing(hat="none", glasses="none"))
    assert float(bare.masks["hat"].max()) < 1e-6
    assert float(bare.masks["glasses"].max()) < 1e-6
    with pytest.raises(ConfigError, match="no hat=pink"):
        People.draw(1, 0).wearing(hat="pink")


def test_every_trait_shows_and_has_a_gradient() -> None:
    """Without glasses and hat each number of an identity moves some pixel, smoothly."""
    people = People.draw(3, 7).wearing(glasses="none", hat="none", expression="neutral", pose="front")
    identity = (0.5 * people.identity).requires_grad_()
    image = render(people.with_identity(identity)).image
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    (g,) = torch.autograd.grad((image * weights).sum(), identity)
    assert bool((g.abs().amax(0) > 1e-4).all()), [
        n for n, v in zip(IDENTITY, g.abs().amax(0), strict=True) if v <= 1e-4
    ]
    step = 1e-2 * torch.nn.functional.one_hot(torch.tensor(2), len(IDENTITY))  # face_width
    with torch.no_grad():
        change = (
            sum(s * (render(people.with_identity(identity + s * step)).image * weights).sum() for s in (1, -1)) / 2e-2
        )
    assert float(change) == pytest.approx(float(g[:, 2].sum()), rel=0.05)


def test_a_person_stays_the_same_whatever_they_wear() -> None:
    """The eyes' colour and place don't hang on attributes that are elsewhere."""
    people = People.draw(6, 9).wearing(glasses="none", hat="none", background="white")
    other = people.wearing(background="blue", clothes="green")
    a, b = render(people), render(other)
    eyes = a.masks["eyes"] > 0.9
    for x, y, m in zip(a.image, b.image, eyes, strict=True):
        assert torch.allclose(x[:, m], y[:, m], atol=0.06)
    assert torch.allclose(a.landmarks, b.landmarks)


# Prompts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_what_is_written_is_read_back(seed: int, n: int) -> None:
    random = Random(seed)
    wishes = [Wish(a, random.choice(tuple(PHRASES[a]))) for a in random.sample(sorted(ATTRIBUTES), n)]
    assert read_prompt(write_prompt(wishes, random)) == wishes


def test_descriptions_are_true_and_negations_allow_the_others() -> None:
    people = People.draw(100, 0)
    met, asked = fulfilled(describe(people, 0), people.attributes)
    assert bool((met | ~asked).all())
    assert Wish("expression", "not smiling").allowed == ("neutral", "sad", "surprised")
    assert Wish("hat", "not none").allowed == ("red", "blue", "green", "yellow")
    no, count = fulfilled(["a person, wearing a red hat, not smiling"], {a: torch.tensor([0]) for a in ATTRIBUTES})
    assert no.tolist() == [[False, True]]
    assert count.tolist() == [[True, True]]
    nothing, none = fulfilled(["a person", "a face"], {a: torch.tensor([0, 1]) for a in ATTRIBUTES})
    assert nothing.dtype == none.dtype == torch.bool
    assert not none.any()
    with pytest.raises(ConfigError, match="don't know the phrase"):
        read_prompt("a person, wearing a crown")


def test_held_out_combinations_are_never_shown_and_can_be_asked_for() -> None:
    def shows(people: People, i: int) -> list[bool]:
        return [all(ATTRIBUTES[a][int(people.attributes[a][i])] == v for a, v in c.items()) for c in HELD_OUT]

    plain, held = People.draw(500, 1), People.draw(50, 1, held_out=True)
    assert not any(any(shows(plain, i)) for i in range(500))
    assert all(any(shows(held, i)) for i in range(50))
    for text in prompts(200, 2):
        said = {w.attribute: w.value for w in read_prompt(text)}
        assert not any(all(said.get(a) == v for a, v in c.items()) for c in HELD_OUT)
    for text in prompts(20, 2, held_out=True):
        said = {w.attribute: w.value for w in read_prompt(text)}
        assert any(all(said.get(a) == v for a, v in c.items()) for c in HELD_OUT)


# Spoiling


def test_nothing_spoils_by_nothing() -> None:
    images, g = render(People.draw(3, 0)).image, torch.Generator().manual_seed(0)
    none = torch.zeros(3)
    assert torch.allclose(twisted(images, none, g), images, atol=1e-4)
    assert torch.allclose(spoilt(images, none, g), images, atol=1e-6)
    little, much = (
        float((twisted(images, torch.full((3,), a), torch.Generator().manual_seed(1)) - images).abs().mean())
        for a in (0.5, 3.0)
    )
    assert 0 < little < much


def test_twisting_moves_pixels_by_as_much_as_it_says() -> None:
    """A picture of its own coordinates, twisted, says where each pixel came from."""
    at = (torch.arange(64.0) + 0.5) / 64
    y, x = torch.meshgrid(at, at, indexing="ij")
    images = torch.stack([x, y, x * 0])[None].expand(4, -1, -1, -1)
    moved = twisted(images, torch.full((4,), 1.5), torch.Generator().manual_seed(0)) - images
    inner = moved[:, :2, 8:-8, 8:-8] * 64
    assert float(inner.square().mean().sqrt()) == pytest.approx(1.5, rel=0.25)
