"""Context-aware preference: reversals, what is made of them, and what is done where the context isn't known."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison
from accord.rewards import ContextAware, HeadReward, score
from accord.rewards.context_aware_preference import Marginal, in_its_context, inferred, reversals, reversed_indeed, wins


class Letters:
    """How often each of four letters comes in the answer, and which the context asks for."""

    width, fingerprint = 6, "letters"
    source: ClassVar[dict[str, Any]] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        rows = [
            [*(float(c.count(x)) for x in "abcd"), float("more a" in p), float("more b" in p)]
            for p, c in zip(prompts, completions, strict=True)
        ]
        return torch.tensor(rows).reshape(-1, 6)


A, B = "more a's", "more b's"
PAIRS = [
    p for i in range(24) for p in reversals(f"p{i}", "aa" + "cd"[i % 2] * (i % 3), "bb" + "dc"[i % 2] * (i % 4), (A, B))
]
GENERAL = [
    Comparison(prompt=f"g{i}", chosen="c" * (1 + i % 3) + "ab"[i % 2], rejected="d" * (1 + i % 2) + "ba"[i % 2])
    for i in range(24)
]


@pytest.fixture(scope="module")
def aware() -> ContextAware:
    return ContextAware.fit([*PAIRS, *GENERAL], Letters(), hidden=16, lr=2e-2, epochs=20)


def right(reward: Any, pairs: Sequence[Comparison]) -> float:
    sides = [score(reward, prompts=[p.prompt for p in pairs], completions=[getattr(p, s) for p in pairs], context=[p.context for p in pairs]).values
             for s in ("chosen", "rejected")]  # fmt: skip
    return float(((sides[0] > sides[1]).float() + 0.5 * (sides[0] == sides[1])).mean())


def longest(**x: Any) -> list[float]:
    return [float(len(c)) for c in x["completions"]]


def asked(**x: Any) -> list[float]:
    return [
        float(c.count("a") - c.count("b")) * (1 if k == A else -1)
        for c, k in zip(x["completions"], x["context"], strict=True)
    ]


def test_who_can_not_tell_contexts_apart_is_right_in_half_of_them() -> None:
    assert right(longest, PAIRS) == 0.5
    assert right(HeadReward(Letters(), seed=3), PAIRS) == 0.5
    blind = HeadReward(Letters(), hidden=8).fitted(
        [p.model_copy(update={"context": None}) for p in PAIRS], lr=1e-2, epochs=3
    )
    assert right(blind, PAIRS) == 0.5


def test_reversals_teach_a_reward_to_heed_its_context_and_to_do_without(aware: ContextAware) -> None:
    assert right(aware, PAIRS) > 0.95
    assert right(aware, GENERAL) > 0.9
    swapped = [p.model_copy(update={"context": B if p.context == A else A}) for p in PAIRS]
    assert right(aware, swapped) < 0.05
    none = score(aware, prompts=["p"], completions=["ab"]).values
    assert torch.equal(none, score(aware, prompts=["p"], completions=["ab"], context=[None]).values)


def test_a_mirrored_reversal_is_the_same_and_a_blind_reward_can_not_be_below_log_2() -> None:
    there, back = reversals("p", "x", "y", (A, B)), reversals("p", "y", "x", (B, A))
    assert there == back[::-1]
    leads = torch.randn(50)
    loss = torch.nn.functional.softplus(torch.stack([leads, -leads])).mean(0)
    assert bool((loss >= torch.log(torch.tensor(2.0)) - 1e-6).all())
    with pytest.raises(FeedbackError, match="two contexts"):
        reversals("p", "x", "y", (A, A))


def test_a_judge_keeps_the_reversals_that_it_sees_too() -> None:
    good = reversals("p", "aa", "bb", (A, B))
    bad = reversals("q", "ab", "aa", (A, B))
    assert reversed_indeed([*good, *bad], asked) == good
    with pytest.raises(FeedbackError, match="in twos"):
        reversed_indeed(PAIRS[:3], asked)


def test_a_known_context_is_that_context_and_the_two_means_are_named(aware: ContextAware) -> None:
    samples = {"prompts": ["p"] * 3, "completions": ["aa", "bc", "dd"], "group": [0, 0, 0]}
    told = score(aware, **samples, context=[A] * 3).values
    assert torch.allclose(score(Marginal(aware, {A: 1.0, B: 0.0}), **samples).values, told, atol=1e-6)
    borda = score(Marginal(aware, {A: 1.0}, "borda"), **samples).values
    assert torch.allclose(borda, wins(told, [0, 0, 0]), atol=1e-6)
    assert torch.equal(borda.argsort(), told.argsort())
    with pytest.raises(ConfigError, match="sum to 1"):
        Marginal(aware, {A: 0.5})


def test_borda_and_utility_can_order_two_answers_differently() -> None:
    """One context is a little for the first, in two of three; one is much for the second."""

    def far(**x: Any) -> list[float]:
        return [
            {"a": 0.5, "b": 0.0}[c] if k == A else {"a": 0.0, "b": 9.0}[c]
            for c, k in zip(x["completions"], x["context"], strict=True)
        ]

    samples = {"prompts": ["p"] * 2, "completions": ["a", "b"], "group": [0, 0]}
    likely = {A: 0.85, B: 0.15}
    utility, borda = (score(Marginal(far, likely, how), **samples).values for how in ("utility", "borda"))
    assert float(utility[0]) < float(utility[1])
    assert float(borda[0]) > float(borda[1])
    tiny = [
        score(Marginal(lambda **x: [1e-3 * v for v in far(**x)], likely, how), **samples).values
        for how in ("utility", "borda")
    ]
    assert bool((tiny[0][0] > tiny[0][1]) == (tiny[1][0] > tiny[1][1])), "where all is nearly a tie, sigmoids are lines"


def test_what_somebody_said_tells_their_context_whatever_its_order() -> None:
    said = [p.model_copy(update={"context": None}) for p in PAIRS if p.context == A]
    found = [inferred(asked, said[:k], [A, B])[A] for k in (0, 1, 2, 4)]
    assert found[0] == pytest.approx(0.5)
    assert found == sorted(found)
    assert found[-1] > 0.99
    assert inferred(asked, said[:3], [A, B]) == pytest.approx(inferred(asked, said[2::-1], [B, A]))
    theirs = ContextAware.fit(PAIRS, Letters(), hidden=16, lr=2e-2, epochs=20).for_newcomer(said[:6])
    assert right(theirs, PAIRS[0::2]) > 0.9
    with pytest.raises(ConfigError, match="no contexts"):
        inferred(asked, said, [])


def test_an_error_is_that_of_contexts_and_that_of_preferences_given_them() -> None:
    """``|E_p f - E_q g| <= E_p |f - g| + range(g) TV(p, q)`` for true f, p and learned g, q, with equality where it can be."""
    gen = torch.Generator().manual_seed(0)
    for _ in range(50):
        f, g = torch.rand(2, 4, generator=gen)
        p, q = torch.softmax(torch.randn(2, 4, generator=gen), -1)
        gap = abs(float(p @ f - q @ g))
        bound = float(p @ (f - g).abs()) + float((g.max() - g.min()) * 0.5 * (p - q).abs().sum())
        assert gap <= bound + 1e-6
    f = g = torch.tensor([1.0, 0.0])
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert abs(float(p @ f - q @ g)) == float((g.max() - g.min()) * 0.5 * (p - q).abs().sum())


def test_a_context_stands_in_the_prompt_and_no_context_is_refused() -> None:
    told = in_its_context(PAIRS[0])
    assert A in str(told.prompt)
    assert in_its_context(GENERAL[0]) == GENERAL[0]
    chat = PAIRS[0].model_copy(update={"prompt": [{"role": "user", "content": "hi"}]})
    assert in_its_context(chat).prompt[0] == {"role": "system", "content": A}
    with pytest.raises(FeedbackError, match="no comparison says its context"):
        ContextAware.fit(GENERAL, Letters())
