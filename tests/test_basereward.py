"""BaseReward: heads, mixtures, members on one scale, a greedy search; and features of a vision-language model that reads a picture once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, with_picture
from accord.losses import bradley_terry
from accord.reproduce.systems import basereward as reproduction
from accord.rewards import BaseReward, RewardRecipe, VisionLanguageFeatures, mixed, recipe_search, score
from accord.rewards.heads import ACTIVATIONS, mlp
from tiny_seeing import tiny


class Letters:
    """How often each of four letters comes."""

    width, fingerprint = 4, "letters"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcd"] for c in completions]).reshape(-1, 4)


def pairs(good: str, bad: str, n: int = 6) -> list[Comparison]:
    return [Comparison(prompt=f"p{i}", chosen=good * (i + 1), rejected=bad) for i in range(n)]


SOURCES = {"some": pairs("a", "b"), "others": pairs("c", "d", 4)}
TOLD = mixed(SOURCES, tuple(SOURCES), 12)
ASKED = {"prompts": ["p"] * 4, "completions": ["a", "b b", "c c c", "d"]}


def test_without_an_activation_any_depth_is_a_line() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep, bent, x = mlp(4, 1, 5, 6, activation="none"), mlp(4, 1, 5), torch.randn(9, 4)
    layers = [m for m in deep if isinstance(m, torch.nn.Linear)]  # type: ignore[attr-defined]
    weight, bias = torch.eye(4), torch.zeros(4)
    for layer in layers:
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    assert torch.allclose(deep(x), x @ weight.T + bias, atol=1e-6)
    line = torch.arange(-2.0, 3.0)[:, None] * torch.ones(4)
    with torch.no_grad():
        bends = [float(m(line).diff(n=2, dim=0).abs().max()) for m in (deep, bent)]
    assert bends[0] < 1e-5 < bends[1]
    with pytest.raises(ConfigError, match="none of gelu, silu"):
        mlp(4, 1, 5, activation="sine")
    assert set(ACTIVATIONS) == {"gelu", "silu", "relu", "tanh", "prelu", "none"}


def test_a_constant_changes_the_loss_only_where_rewards_are_centred() -> None:
    c, r = torch.tensor([1.0], requires_grad=True), torch.tensor([0.5], requires_grad=True)
    assert torch.allclose(bradley_terry(c + 3, r + 3), bradley_terry(c, r))
    loss = bradley_terry(c + 3, r + 3, centre=0.1)
    assert loss > bradley_terry(c, r, centre=0.1)
    (loss - bradley_terry(c, r)).backward()
    assert float(c.grad + r.grad) > 0, "its gradient takes the sum to 0"  # type: ignore[operator]


def test_a_mixture_has_as_many_of_each_and_its_total_does_not_grow() -> None:
    found = mixed(SOURCES, ("some", "others"), 21)
    assert len(found) == 21
    assert sum(p in SOURCES["some"] for p in found) == 11
    assert len({p.chosen for p in found if p in SOURCES["others"]}) == 4, (
        "a small source gives all of its own, and again"
    )
    assert mixed(SOURCES, ("some", "others"), 21) == found
    assert mixed(SOURCES, ("some",), 6, seed=1) != mixed(SOURCES, ("some",), 6, seed=2)
    with pytest.raises(ConfigError, match="no source called 'more'"):
        mixed(SOURCES, ("more",), 3)
    with pytest.raises(FeedbackError, match="'none' has no comparisons"):
        mixed({"none": []}, ("none",), 3)


def test_members_count_alike_whatever_their_scales() -> None:
    reward = BaseReward(Letters(), RewardRecipe(members=2)).fitted(TOLD, epochs=2)
    before = score(reward, **ASKED)
    assert before.members is not None
    assert torch.allclose(before.values, before.members.mean(1), atol=1e-6)
    with torch.no_grad():
        for p in reward.members[0].head[-1].parameters():  # type: ignore[index,union-attr]
            p.mul_(100)
        reward.scale[0] *= 100
    assert torch.allclose(score(reward, **ASKED).values, before.values, atol=1e-4)
    alone = BaseReward(Letters()).fitted(TOLD, epochs=2)
    assert torch.allclose(score(alone, **ASKED).values, before.members[:, 0], atol=1e-5), (
        "the first member learns as one alone would"
    )


def test_it_is_saved_with_its_recipe_and_scale(tmp_path: Path) -> None:
    reward = BaseReward.fit(TOLD, Letters(), layers=3, length=0.5, members=2, epochs=2)
    reward.save(tmp_path)
    again = BaseReward.load(tmp_path, Letters())
    assert again.recipe == reward.recipe == RewardRecipe(layers=3, length=0.5, members=2)
    assert torch.equal(score(again, **ASKED).values, score(reward, **ASKED).values)


def test_length_takes_from_longer_answers_alone() -> None:
    plain, short = (BaseReward(Letters(), RewardRecipe(length=k)).fitted(TOLD, epochs=2) for k in (0.0, 2.0))
    gap = score(plain, **ASKED).values - score(short, **ASKED).values
    assert torch.allclose(gap, 2 * torch.tensor([1.0, 2.0, 3.0, 1.0]).log(), atol=1e-5)


def test_the_search_carries_the_best_of_each_dimension_on_and_trains_none_twice() -> None:
    made: list[RewardRecipe] = []

    def train(recipe: RewardRecipe) -> Any:
        made.append(recipe)
        return recipe

    def worth(recipe: Any) -> float:
        return float(recipe.layers == 3) - recipe.centre + 0.5 * recipe.members * (recipe.layers == 3)

    found = recipe_search({"layers": (1, 2, 3), "centre": (0.1, 0.0), "members": (1, 2)}, train, worth)
    assert found.best == RewardRecipe(layers=3, centre=0.0, members=2)
    assert found.table("layers") == [(1, 0.0), (2, 0.0), (3, 1.5)]
    assert [t.recipe.layers for t in found.trials if t.dimension == "centre"] == [3, 3]
    assert len(made) == len(set(made)) == 5
    for space, match in (
        ({"depth": (1,)}, "dimension='depth'"),
        ({"layers": ()}, "values to try"),
        ({"layers": (0,)}, "layers and members"),
    ):
        made.clear()
        with pytest.raises(ConfigError, match=match):
            recipe_search(space, train, worth)
        assert not made


def test_the_reproductions_search_tries_only_recipes_that_can_be_trained() -> None:
    sources = dict.fromkeys(("pictures", "text", "flawed"), TOLD)

    def train(recipe: RewardRecipe) -> BaseReward:
        return BaseReward(Letters(), recipe).fitted(mixed(sources, recipe.sources, 6), steps=1)

    found = reproduction.search(train, lambda reward: float(score(reward, **ASKED).values[0]))
    assert {t.dimension for t in found.trials} == set(reproduction.SPACE)
    assert found.best.sources


# A real architecture, tiny.


PICTURES = torch.rand(2, 3, 40, 32, generator=torch.Generator().manual_seed(1))
ANSWERS = ["the answer is 5 .", "it is the crow . thank you for asking .", "rain"]


def other_picture(features: VisionLanguageFeatures, file: Path) -> None:
    Image.new("RGB", (32, 40), "blue").save(file)


def other_template(features: VisionLanguageFeatures, file: Path) -> None:
    features.processor.chat_template = features.processor.chat_template.replace("<image> ", "<image> rain ")


def other_look(features: VisionLanguageFeatures, file: Path) -> None:
    features.processor.image_processor.do_normalize = False


def other_settings(features: VisionLanguageFeatures, file: Path) -> None:
    features.model.config.vision_feature_layer = -2


def other_precision(features: VisionLanguageFeatures, file: Path) -> None:
    features.model.to(torch.bfloat16)


@pytest.mark.parametrize("change", [other_picture, other_template, other_look, other_settings, other_precision])
def test_rows_are_not_those_of_what_was_there_before(
    change: Callable[[VisionLanguageFeatures, Path], None], tmp_path: Path
) -> None:
    Image.new("RGB", (32, 40), "red").save(file := tmp_path / "shown.png")
    features = tiny()
    prompt: Any = [
        {"role": "user", "content": [{"type": "image", "image": str(file)}, {"type": "text", "text": "rain"}]}
    ]
    before = features([prompt], ANSWERS[:1])
    assert torch.equal(features([prompt], ANSWERS[:1]), before)
    change(features, file)
    assert not torch.equal(features([prompt], ANSWERS[:1]), before)


def test_answers_share_their_picture_and_each_gets_what_it_would_alone() -> None:
    features = tiny()
    looked: list[int] = []
    features.model.model.vision_tower.register_forward_hook(lambda *_: looked.append(1))
    asked = with_picture("what is 2 plus 3 ?", PICTURES[0])
    together = features([asked] * 3, ANSWERS)
    assert len(looked) == 1, "a picture is read once for all answers"
    assert together.shape == (3, 24)
    for row, answer in zip(together, ANSWERS, strict=True):
        assert torch.allclose(tiny()([asked], [answer])[0], row, atol=1e-5)
    again = features([asked, asked], ANSWERS[::-1][:2])
    assert torch.equal(again, together[[2, 1]])
    assert len(looked) == 1, "what is known is not computed again"


def test_it_is_what_the_model_itself_says_of_the_whole_text() -> None:
    features = tiny()
    asked = with_picture("what is 2 plus 3 ?", PICTURES[0])
    inputs = features.processor.apply_chat_template([[{"role": "user", "content": [{"type": "image", "image": _pil(PICTURES[0])}, *asked[0]["content"][1:]]}]],
                                                    tokenize=True, return_dict=True, return_tensors="pt")  # fmt: skip
    tokenizer = features.processor.tokenizer
    answer = torch.tensor([[*tokenizer(ANSWERS[0], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]])
    ids = torch.cat([inputs["input_ids"], answer], 1)
    with torch.no_grad():
        whole = features.model.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=inputs["pixel_values"]
        ).last_hidden_state
    assert torch.allclose(features([asked], ANSWERS[:1])[0], whole[0, -1], atol=1e-5)


def test_another_picture_or_none_is_another_row_and_a_head_learns_on_them() -> None:
    features = tiny()
    rows = features(
        [
            with_picture("what is 2 plus 3 ?", PICTURES[0]),
            with_picture("what is 2 plus 3 ?", PICTURES[1]),
            "what is 2 plus 3 ?",
        ],
        ANSWERS[:1] * 3,
    )
    assert len({tuple(r.tolist()) for r in rows}) == 3
    told = [
        Comparison(prompt=with_picture("what is 2 plus 3 ?", p), chosen=ANSWERS[0], rejected=ANSWERS[1])
        for p in PICTURES
    ]
    reward = BaseReward(features).fitted(told, epochs=60, lr=1e-2)
    said = score(reward, prompts=[told[0].prompt] * 2, completions=ANSWERS[:2]).values
    assert said[0] > said[1]


def _pil(picture: Tensor) -> Any:
    from accord.rewards.vision import _picture

    return _picture(picture)
