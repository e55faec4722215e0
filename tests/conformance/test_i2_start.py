"""I2: before the first update every margin and every KL is 0 and every ratio is 1, whatever a run starts from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.algorithms import GRPO, KTO, PPO, RLOO
from accord.catalogue import find
from accord.engine import fit
from accord.feedback import Comparison, Label
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group

from .adapters import STARTS, moved
from .matrix import Note, spread

PAIRS = [Comparison(prompt=p, chosen=c, rejected=r) for p, c, r in (
    ("what is 2 plus 3 ?", " the answer is 5 .", " 4"), ("Paris is", " the capital of France, it is", " the quick brown fox"),
    ("You are", " a helpful assistant.", " user"), ("the weather in", " Paris", " France is what"))]  # fmt: skip
LABELS = [Label(prompt=p.prompt, completion=p.chosen, label=i % 2 == 0) for i, p in enumerate(PAIRS)]
SHORT = Sampling(max_new_tokens=6)


def length(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


Made = Callable[[Any], tuple[Any, list[Any]]]
METHODS: dict[str, tuple[Made, dict[str, float]]] = {
    **{n: (lambda p, n=n: (find(n).load()(p), PAIRS), {"margin": 0.0}) for n in ("dpo", "ipo", "rpo")},
    "kto": (lambda p: (KTO(p), LABELS), {"kl": 0.0, "reward_good": 0.0, "reward_bad": 0.0}),
    "grpo": (lambda p: (GRPO(p, length, kl=0.1, group_size=2, sampling=SHORT), PAIRS), {"kl": 0.0, "off_policy": 0.0}),
    "rloo": (lambda p: (RLOO(p, length, kl=0.1, group_size=2, sampling=SHORT), PAIRS), {"kl": 0.0, "off_policy": 0.0}),
    "ppo": (lambda p: (PPO(p, length, kl=0.1, sampling=SHORT), PAIRS), {"kl": 0.0, "off_policy": 0.0}),
}
"""How each method is made of a policy, and what its first step must measure."""


@pytest.mark.parametrize(
    "architecture", spread(("gpt2", "llama", "cohere", "gemma2"), ("gpt2",))
)  # gpt2's config has dropout
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", STARTS)
def test_the_first_step_starts_from_where_the_policy_began(
    start: str, method: str, architecture: str, models: Path, note: Note
) -> None:
    made, expected = METHODS[method]
    algorithm, rows = made(STARTS[start](architecture, models))
    run = fit(algorithm, rows, steps=2, batch_size=len(rows), lr=1e-2, progress=False)
    for name, value in expected.items():
        assert run.metrics[0][name] == pytest.approx(value, abs=1e-5), name
    assert any(abs(run.metrics[1][n] - v) > 1e-5 for n, v in expected.items()) or method == "kto", (
        "the second step has moved"
    )
    note("adapters", start, training="works")


@pytest.mark.parametrize("start", STARTS)
def test_so_it_does_in_half_precision(start: str, models: Path) -> None:
    for method in ("dpo", "grpo"):
        made, expected = METHODS[method]
        algorithm, rows = made(STARTS[start]("gpt2", models, dtype="bfloat16"))
        run = fit(algorithm, rows, steps=1, batch_size=len(rows), progress=False)
        for name, value in expected.items():
            assert run.metrics[0][name] == pytest.approx(value, abs=0.05), (method, name)


@pytest.mark.parametrize("start", STARTS)
def test_a_reference_stays_where_the_policy_began(start: str, models: Path) -> None:
    policy = STARTS[start]("llama", models)
    groups = [Group(p.prompt, (p.chosen, p.rejected)) for p in PAIRS]
    reference, began = policy.freeze("base"), policy.likelihood(groups).policy.detach()
    moved(policy)
    assert not torch.allclose(policy.likelihood(groups).policy, began, atol=0.1)
    assert torch.allclose(reference.likelihood(groups).policy, began, atol=1e-4)
    assert torch.equal(policy.likelihood(groups).policy, policy.likelihood(groups).policy), (
        "the reference left the policy as it was"
    )


def test_the_order_of_making_policy_and_reference_says_nothing(models: Path) -> None:
    """A policy read in twice is one and the same, with adapters too, whatever was drawn in between."""
    for start, load in STARTS.items():
        first = load("llama", models)
        torch.manual_seed(123)
        torch.rand(100)
        second = load("llama", models)
        for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
            assert torch.equal(a, b), f"{start}: {name}"


def test_dropout_is_in_no_log_prob(models: Path) -> None:
    policy = LanguagePolicy.load(STARTS["a new LoRA"]("gpt2", models).name, lora=4)
    assert policy.core.config.resid_pdrop > 0, "gpt2's own config has dropout, or this says nothing"
    policy.train()
    groups = [Group(p.prompt, (p.chosen, p.rejected)) for p in PAIRS]
    assert torch.equal(policy.likelihood(groups).policy, policy.likelihood(groups).policy)
    rollouts = policy.sample([p.prompt for p in PAIRS], 2, SHORT)
    assert torch.allclose(policy.logprobs(rollouts), rollouts.logprobs, atol=1e-4)
