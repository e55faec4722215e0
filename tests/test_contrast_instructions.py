"""Contrast Instructions: who ignores the request is found out; ConvexDA keeps the corners, RewardFusion averages neighbours."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from accord.errors import ConfigError, FeedbackError
from accord.evaluation.trust import consistency, contrast_instructions
from accord.feedback import Comparison, flipped, notes_of, original
from accord.reproduce.systems import contrast_instructions as reproduction
from accord.rewards import RewardFusion, convex_augmented, score
from accord.rewards.contrast_instructions import corners, edited_copies, misspelled

ALPHABET = "abcdefghij"


def spelt(texts: Sequence[str]) -> Tensor:
    """How often each letter comes."""
    return torch.tensor([[float(t.count(x)) for x in ALPHABET] for t in texts]).reshape(-1, len(ALPHABET))


class Spelt:
    width, fingerprint = len(ALPHABET), "spelt"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        return spelt([f"{p}{c}" for p, c in zip(prompts, completions, strict=True)])


PAIRS = [
    Comparison(prompt=f"aa{x}", chosen=x * n, rejected="j", annotator="me")
    for n, x in enumerate("bcdefg", 1)
    for _ in "12"
]


def by_answer(**x: Any) -> list[float]:
    return [float(len(c)) for c in x["completions"]]


def by_request(**x: Any) -> list[float]:
    return [float(ord(p[-1])) for p in x["prompts"]]


def heedful(**x: Any) -> list[float]:
    return [float(p[-1] in c) for p, c in zip(x["prompts"], x["completions"], strict=True)]


SETS = contrast_instructions(PAIRS, spelt)


def test_a_set_holds_two_near_requests_each_with_its_own_answer_over_the_others() -> None:
    assert len(SETS) == 6, "each request stands in one set, in both roles"
    for own, other in zip(SETS[0::2], SETS[1::2], strict=True):
        assert (own.chosen, own.rejected) == (other.rejected, other.chosen)
        assert own.prompt != other.prompt
        assert own.columns["alike"] == pytest.approx(0.8)


def test_outside_the_band_or_with_one_answer_there_is_none() -> None:
    same = [p.model_copy(update={"chosen": "b"}) for p in PAIRS]
    for pairs, band in ((same, (0.75, 0.99)), (PAIRS, (0.85, 1.01)), (PAIRS, (0.1, 0.7)), (PAIRS[:2], (-1.0, 1.01))):
        with pytest.raises(FeedbackError, match="widen the band"):
            contrast_instructions(pairs, spelt, low=band[0], high=band[1])
    with pytest.raises(ConfigError, match="low < high"):
        contrast_instructions(PAIRS, spelt, low=0.9, high=0.75)


def test_sets_of_many_requests_never_need_all_cosines_at_once() -> None:
    n = 3000
    pairs = [Comparison(prompt=str(i), chosen=f"{i} .", rejected="x") for i in range(n)]

    def circle(texts: Sequence[str]) -> Tensor:
        turn = torch.tensor([float(t) for t in texts], dtype=torch.float64) * torch.pi / n
        return torch.stack([turn.cos(), turn.sin()], 1)

    largest: list[int] = []

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            largest.append(made.numel() if isinstance(made, Tensor) else 0)
            return made

    with Watched():
        sets = contrast_instructions(
            pairs, circle, low=math.cos(1501 * torch.pi / n), high=math.cos(1499.5 * torch.pi / n)
        )
    assert max(largest) < n * n / 2
    gaps = {
        abs(int(str(own.prompt)) - int(str(other.prompt))) for own, other in zip(sets[0::2], sets[1::2], strict=True)
    }
    assert len(sets) == n, "half a circle apart each has one partner, in whatever block both stand"
    assert gaps == {1500}


def test_who_ignores_the_request_or_the_answer_is_at_chance_and_who_heeds_both_is_always_right() -> None:
    found = {r: consistency(r, SETS) for r in (by_answer, by_request, heedful)}
    shares = {r.__name__: (c.response.value, c.request.value) for r, c in found.items() if c.request}
    assert shares == {"by_answer": (0.5, 0.5), "by_request": (0.5, 0.5), "heedful": (1.0, 1.0)}


def test_consistency_knows_the_order_of_rewards_alone() -> None:
    def steep(**x: Any) -> list[float]:
        return [float(np.exp(3 * v) - 7) for v in heedful(**x)]

    assert consistency(steep, SETS) == consistency(heedful, SETS)


def test_sets_without_their_counterparts_are_refused() -> None:
    with pytest.raises(FeedbackError, match="record 3 has no counterpart"):
        consistency(heedful, SETS[:3])
    with pytest.raises(FeedbackError, match="record 1 has no counterpart"):
        consistency(heedful, SETS[1:])


# ConvexDA.


def shuffled(text: str, random: Random) -> str:
    return text + "".join(random.choices(ALPHABET, k=3))


def test_what_lies_within_the_hull_is_a_mixture_of_its_corners_and_a_turn_changes_nothing() -> None:
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(3))
    kept = corners(rows)
    assert 3 <= len(kept) < 12
    centred = (rows - rows.mean(0)).double()
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    plane = (u[:, :2] * s[:2]).numpy()
    for i in set(range(12)) - set(kept):
        mix = np.vstack([plane[kept].T, np.ones(len(kept))])
        assert linprog(np.zeros(len(kept)), A_eq=mix, b_eq=[*plane[i], 1.0]).status == 0
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(4)))[0]
    assert corners(rows @ turn + 4) == kept
    assert corners(rows[:3]) == [0, 1, 2]
    assert corners(torch.outer(torch.arange(4.0), torch.ones(5))) == [0, 1, 2, 3], "on a line all stay"
    assert corners(rows[:1]) == [0]


def test_an_epoch_has_as_many_pairs_as_there_were_and_only_chosen_texts_differ() -> None:
    told = convex_augmented(PAIRS, Spelt(), shuffled, epochs=2, seed=1)
    assert len(told) == 2 * len(PAIRS)
    assert told == convex_augmented(PAIRS, Spelt(), shuffled, epochs=2, seed=1)
    for pair, new in zip(PAIRS * 2, told, strict=True):
        assert new.chosen.startswith(pair.chosen)
        assert (new.prompt, new.rejected, new.annotator) == (pair.prompt, pair.rejected, pair.annotator)
        assert notes_of(new)[0]["by"] == "convexda"
        assert original(new) == original(flipped(new, "wrong", "me")) == pair, "nothing is lost"
    assert {p.chosen for p in told[: len(PAIRS)]} != {p.chosen for p in told[len(PAIRS) :]}, "an epoch draws anew"
    left = convex_augmented(PAIRS, Spelt(), lambda text, random: text)
    assert [p.chosen for p in left] == [p.chosen for p in PAIRS]
    with pytest.raises(FeedbackError, match="record 1 is no text"):
        convex_augmented([Comparison(prompt="p", chosen=torch.zeros(3, 2, 2), rejected="x")], Spelt())


def test_the_control_of_convexda_draws_among_the_same_copies() -> None:
    pairs = [Comparison(prompt="p", chosen=f"{reproduction.POLITE[0]} it is {i} .", rejected="x") for i in range(20)]
    for i, copies in enumerate(edited_copies(pairs, reproduction.said_otherwise, seed=1403)):
        drawn = [p.chosen for p in reproduction.random(pairs, Spelt(), 1403)[i :: len(pairs)]]
        assert len(drawn) == reproduction.EPOCHS
        assert set(drawn) <= set(copies)


def test_a_misspelled_text_keeps_its_numbers_names_and_short_words() -> None:
    text = "Paris holds 12345 people and everybody there speaks freely"
    for seed in range(8):
        new = misspelled(text, Random(seed))
        changed = [(a, b) for a, b in zip(text.split(), new.split(), strict=True) if a != b]
        assert len(changed) <= 1
        assert all(a in ("holds", "people", "everybody", "there", "speaks", "freely") and sorted(a) == sorted(b) for a, b in changed)  # fmt: skip
    assert any(misspelled(text, Random(s)) != text for s in range(8))
    assert misspelled("2 plus 3", Random(0)) == "2 plus 3"


# RewardFusion.

ASKED = {"prompts": ["a", "b", "a"], "completions": ["ab", "bbbb", "gggg"]}
CORPUS = [Comparison(prompt="a", chosen=c, rejected="j") for c in ("ab", "abb", "aabb", "bb", "abb")]


def fused(corpus: Sequence[Comparison] = CORPUS, **options: Any) -> Tensor:
    return score(RewardFusion(by_answer, corpus, Spelt(), **options), **ASKED).values


def test_without_neighbours_a_reward_stays_as_it_is() -> None:
    own = score(by_answer, **ASKED).values
    for values in (fused(k=0), fused(near=1.01), fused([])):
        assert torch.equal(values, own)
    assert fused()[2] == own[2], "nothing is near the last one"


def test_a_fused_reward_is_the_weighed_mean_of_itself_and_its_neighbours() -> None:
    said = score(RewardFusion(by_answer, CORPUS, Spelt(), k=2, near=0.5), **ASKED)
    rows = torch.nn.functional.normalize(Spelt()(ASKED["prompts"], ASKED["completions"]), dim=-1)
    others = torch.nn.functional.normalize(Spelt()(["a"] * 3, ["abb", "aabb", "bb"]), dim=-1)
    near = rows[0] @ others.T  # itself and what comes twice are no neighbours
    best = near.topk(2)
    lengths = torch.tensor([3.0, 4.0, 2.0])[best.indices]
    assert float(said.values[0]) == pytest.approx(float((2 + best.values @ lengths) / (1 + best.values.sum())))
    assert said.aspects["neighbours"].tolist()[0] == 2
    assert bool((said.values <= 4).all() and (said.values >= 2).all()), "between the least and the greatest"


def test_of_equal_texts_it_is_the_mean_and_a_constant_passes_through() -> None:
    class Same(Spelt):
        def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
            return torch.ones(len(prompts), self.width)

    said = score(RewardFusion(by_answer, CORPUS, Same(), k=4), **ASKED).values
    assert float(said[1]) == pytest.approx((4 + 2 + 3 + 4 + 2) / 5)
    more = score(RewardFusion(lambda **x: [v + 3 for v in by_answer(**x)], CORPUS, Same(), k=4), **ASKED).values
    assert torch.allclose(more, said + 3)


def test_texts_to_which_a_reward_does_not_apply_are_no_neighbours() -> None:
    def some(**x: Any) -> list[float | None]:
        return [None if len(c) == 3 else float(len(c)) for c in x["completions"]]

    kept = [p for p in CORPUS if len(p.chosen) != 3]
    assert torch.equal(score(RewardFusion(some, CORPUS, Spelt(), near=0.1), **ASKED).values, fused(kept, near=0.1))
