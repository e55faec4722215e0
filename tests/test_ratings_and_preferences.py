"""HelpSteer2-Preference: votes that agree, weights as repetitions, ratings and then preferences, and a step beyond."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Rating
from accord.losses import bradley_terry
from accord.rewards import HeadReward, rated_then_compared, score
from accord.rewards.helpsteer2_preference import extrapolated, farthest, rated_in, strength_of


class Letters:
    """How often each of four letters comes."""

    width, fingerprint = 4, "letters"
    source: ClassVar[dict[str, Any]] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcd"] for c in completions]).reshape(-1, 4)


ANSWERS = ["aab", "bcd", "ddd", "abcd", "cab", "bba", "aaa", "add"]
RATED = [Rating(prompt="p", completion=c, aspects={"helpfulness": float(c.count("a"))}) for c in ANSWERS]
PAIRS = [Comparison(prompt=f"p{i}", chosen=x, rejected=y, strength=float(1 + (i % 3)))
         for i, (x, y) in enumerate(permutations(ANSWERS, 2)) if x.count("a") > y.count("a")]  # fmt: skip


def values(reward: Any) -> Tensor:
    return score(reward, prompts=["p"] * len(ANSWERS), completions=ANSWERS).values


@pytest.mark.parametrize(
    ("votes", "found"),
    [
        ([2, 2, 2], 2),
        ([3, 3, -3, 3, 2], 3),  # the tight three
        ([1, 2, 3], 2),
        ([3, -1, -2, -3, 3], -2),
        ([1, 1, -2], None),  # too far apart
        ([1, -1], None),  # on neither
        ([3, 3, 3, -3, -3, -3], None),  # two camps
        ([-1], -1),
    ],
)
def test_those_who_agree_best_are_listened_to(votes: list[int], found: int | None) -> None:
    assert strength_of(votes) == found
    assert {strength_of(order) for order in permutations(votes)} == {found}
    assert strength_of([-v for v in votes]) == (None if found is None else -found), "the other order of the answers"


def test_votes_beyond_the_scale_are_refused() -> None:
    for votes in ([4, 1, 1], []):
        with pytest.raises(ConfigError, match="from -3 to 3"):
            strength_of(votes)


def test_a_weight_is_a_repetition_and_a_margin_is_not() -> None:
    chosen, rejected, m = torch.randn(5), torch.randn(5), torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0])
    weighed = bradley_terry(chosen, rejected, weight=m).sum()
    repeated = bradley_terry(chosen.repeat_interleave(m.long()), rejected.repeat_interleave(m.long())).sum()
    assert torch.allclose(weighed, repeated, atol=1e-5)
    assert torch.allclose(
        bradley_terry(chosen, rejected, weight=torch.ones(5)), bradley_terry(chosen, rejected, margin=torch.zeros(5))
    )
    far = torch.full((1,), 8.0, requires_grad=True)
    slopes = [
        torch.autograd.grad(bradley_terry(far, torch.zeros(1), **{how: 3.0}).sum(), far)[0]
        for how in ("margin", "weight")
    ]
    assert float(slopes[0] / slopes[1]) == pytest.approx(2.718281828**3 / 3, rel=0.01), (
        "of what is settled a margin still wants more"
    )


def test_the_weighed_optimum_is_the_log_ratio_of_weights_for_and_against() -> None:
    lead = torch.zeros(1, requires_grad=True)
    for _ in range(200):
        loss = bradley_terry(lead, torch.zeros(1), weight=3.0) + bradley_terry(torch.zeros(1), lead, weight=1.0)
        (slope,) = torch.autograd.grad(loss.sum(), lead)
        lead = (lead - 0.5 * slope).detach().requires_grad_()
    assert float(lead.detach()) == pytest.approx(torch.tensor(3.0).log().item(), abs=1e-4)


def test_a_step_beyond_is_affine_in_what_is_linear() -> None:
    one, two = HeadReward(Letters(), hidden=0, seed=1), HeadReward(Letters(), hidden=0, seed=2)
    ends = [dict(r.state_dict()) for r in (one, two)]
    for by in (0.0, 1.0, 1.52):
        between = HeadReward(Letters(), hidden=0)
        between.load_state_dict(extrapolated(*ends, by))
        assert torch.allclose(values(between), values(one) + by * (values(two) - values(one)), atol=1e-5)
    half = {k: v.to(torch.bfloat16) for k, v in ends[1].items()}
    assert {v.dtype for v in extrapolated(ends[0], half, 1.5).values()} == {torch.bfloat16}


def test_validation_goes_as_far_as_it_helps_and_leaves_the_reward_alone() -> None:
    reward = HeadReward(Letters(), hidden=0)
    before = {k: torch.zeros_like(v) for k, v in reward.state_dict().items()}
    weight = next(k for k in before if k.endswith("weight"))
    after = {**before, weight: torch.tensor([[1.0, 0.9, 0.9, 0.9]])}
    before = {**before, weight: torch.tensor([[0.0, 1.0, 1.0, 1.0]])}
    reward.load_state_dict(after)
    best = farthest(reward, before, PAIRS, steps=(1.0, 1.05, 1.5, 2.0))
    assert torch.equal(reward.state_dict()[weight], after[weight])
    reward.load_state_dict(best)
    said = values(reward)
    assert min(said[i] for i, c in enumerate(ANSWERS) if c.count("a") == 2) > max(
        said[i] for i, c in enumerate(ANSWERS) if c.count("a") == 1
    )


def test_preferences_go_on_from_what_ratings_taught() -> None:
    rated = HeadReward(Letters(), hidden=8).fitted(RATED, lr=1e-2, steps=40)
    both = rated_then_compared([*RATED, *PAIRS], Letters(), hidden=8, lr=1e-2, steps=40, beyond=False)
    scratch = HeadReward(Letters(), hidden=8).fitted(PAIRS, lr=1e-2, steps=40)
    near, far = (float((both.head[0].weight - r.head[0].weight).norm()) for r in (rated, scratch))  # type: ignore[index]
    assert near < far
    right = [float(values(both)[ANSWERS.index(p.chosen)] > values(both)[ANSWERS.index(p.rejected)]) for p in PAIRS]
    assert sum(right) / len(right) > 0.95
    still = rated_then_compared([*RATED, *PAIRS], Letters(), hidden=8, rating_lr=1e-2, lr=1e-12, steps=40, beyond=False)
    torch.testing.assert_close(
        values(still), values(rated), msg="a second stage without a rate leaves what ratings taught"
    )
    farther = rated_then_compared([*RATED, *PAIRS], Letters(), hidden=8, lr=1e-2, steps=5)
    assert torch.isfinite(values(farther)).all()


def test_scores_beside_a_pair_are_ratings_and_what_is_missing_is_named() -> None:
    scored = PAIRS[0].model_copy(update={"columns": {"score_chosen": 8.0, "score_rejected": 3}})
    assert [(r.completion, r.aspects) for r in rated_in(scored)] == [
        (scored.chosen, {"overall": 8.0}),
        (scored.rejected, {"overall": 3.0}),
    ]
    assert rated_in(PAIRS[0]) == []
    with pytest.raises(FeedbackError, match="ratings and comparisons, but has 0 and"):
        rated_then_compared(PAIRS, Letters())
    with pytest.raises(FeedbackError, match="nothing of their strength"):
        rated_then_compared([*RATED, PAIRS[0].model_copy(update={"strength": None})], Letters())
