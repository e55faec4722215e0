"""Heads on frozen features tell the meter what they cost: a million weights and a row are a unit, three where they learn."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.engine import fit
from accord.feedback import Comparison, Task, in_context
from accord.policies.meter import metered, size_of
from accord.rewards import (  # fmt: skip
    PAL,
    VPL,
    BaseReward,
    BayesianEnsemble,
    Committee,
    ContrastiveFitting,
    HeadReward,
    RewardRecipe,
    Router,
    score,
)

STEPS, BATCH = 3, 4
SAID = [
    Comparison(prompt=f"p{i}", chosen="aab"[i % 3 :], rejected="bcd"[: 1 + i % 3], annotator="who")
    for i in range(STEPS * BATCH)
]
ASKED = [Task(prompt=p.prompt, columns={"task": "ab"[i % 2]}) for i, p in enumerate(SAID)]
ONCE = {"steps": STEPS, "batch_size": BATCH, "progress": False}


class Letters:
    """How often each of four letters comes."""

    width, fingerprint = 4, "letters"

    def __call__(self, prompts: Any, completions: Any) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcd"] for c in completions]).reshape(-1, 4)


@pytest.mark.parametrize("hidden", [0, 8, (8, 6)])
def test_a_head_that_learns_from_pairs_costs_three_passes_of_both_answers(hidden: Any) -> None:
    made = HeadReward(Letters(), hidden=hidden)
    with metered() as meter:
        made.fitted(SAID, **ONCE)
    assert meter.units == pytest.approx(3 * size_of(made.head) * 2 * BATCH * STEPS / 1e6)


def contrast(head: HeadReward) -> None:
    fit(ContrastiveFitting(head, how="swav", prototypes=5), SAID, **ONCE)


LEARNING: dict[str, tuple[nn.Module, Callable[[Any], Any], Callable[[Any], list[tuple[nn.Module, int]]]]] = {
    "vpl": (
        VPL(Letters(), latent=3, hidden=8),
        lambda m: m.fitted(in_context(SAID, 2), **ONCE),
        lambda m: [(m.verdict, 2), (m.attention, 2), (m.heads, 1), (m.reward, 2)],
    ),
    "pal": (PAL(Letters(), ["who"], hidden=8), lambda m: m.fitted(SAID, **ONCE), lambda m: [(m.map, 4)]),
    "pal by angle": (
        PAL(Letters(), ["who"], by="angle", hidden=8),
        lambda m: m.fitted(SAID, **ONCE),
        lambda m: [(m.map, 2), (m.asked, 2)],
    ),
    "router": (Router(Letters(), ["a", "b"]), lambda m: m.fitted(ASKED, **ONCE), lambda m: [(m.logits, 1)]),
    "contrast": (
        HeadReward(Letters(), hidden=8),
        contrast,
        lambda m: [(m.head, 2), (m.head[-1], 2), (nn.Linear(8, 5, bias=False), 4)],
    ),
}
"""Of each: how it learns, and how many rows of a record go through which of its networks."""


@pytest.mark.parametrize("name", LEARNING)
def test_others_cost_what_goes_through_their_networks(name: str) -> None:
    made, learn, parts = LEARNING[name]
    with metered() as meter:
        learn(made)
    assert meter.units == pytest.approx(3 * sum(size_of(m) * n for m, n in parts(made)) * BATCH * STEPS / 1e6)


SAYING: dict[str, tuple[nn.Module, Callable[[Any], nn.Module]]] = {
    "head": (HeadReward(Letters(), hidden=8), lambda m: m.head),
    "committee": (Committee(Letters(), 3, hidden=8), lambda m: m.heads),
    "basereward": (BaseReward(Letters(), RewardRecipe(members=2)), lambda m: m.members),
}


@pytest.mark.parametrize("name", SAYING)
def test_what_only_says_costs_one_pass_of_all_its_members(name: str) -> None:
    made, networks = SAYING[name]
    with metered() as meter:
        score(made, prompts=["p"] * 3, completions=["a", "b", "c"])  # type: ignore[arg-type]
    assert meter.units == pytest.approx(size_of(networks(made)) * 3 / 1e6)


def test_an_ensemble_is_looked_at_once_more_when_it_was_taught() -> None:
    made = BayesianEnsemble(Letters(), heads=2, hidden=3)
    texts = [p.chosen for p in SAID]
    with metered() as meter:
        made.taught_by(lambda *, completions, **_: [float(len(c)) for c in completions], [p.prompt for p in SAID], texts, **ONCE)  # fmt: skip
    assert meter.units == pytest.approx(size_of(made.heads) * (3 * BATCH * STEPS + len(texts)) / 1e6)
