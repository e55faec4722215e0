"""Reward preference with harmonic rewards (card 46): properties from the paper."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord import losses
from accord.algorithms import RewardPreference, SubjectPair, subject_pairs
from accord.engine import Rows, Step
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Example
from accord.losses import LogProbs
from accord.rewards import combine, score
from tiny_pipelines import contrast, gradient, near, nudge, picture, policy

PROMPTS = ["a red cat", "a person"]
REFERENCES = [Example(prompt=p, completion=picture(i)) for i, p in enumerate(PROMPTS)]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 1))
def test_harmonic_mean(image: float, text: float, share: float) -> None:
    def mean(i: float, t: float, w: float) -> float:
        both = combine({"i": lambda **_: [i], "t": lambda **_: [t]}, "harmonic", weights={"i": w, "t": 1 - w})
        return float(score(both, prompts=["x"], completions=["y"]).values)

    r = mean(image, text, share)
    assert min(image, text) - 1e-6 <= r <= max(image, text) + 1e-6
    assert r <= share * image + (1 - share) * text + 1e-6
    assert mean(image, text, 0.0) == pytest.approx(text, rel=1e-6)
    assert mean(image, text, 1.0) == pytest.approx(image, rel=1e-6)
    assert mean(min(1.0, image + 0.1), text, share) >= r - 1e-6
    if share < 0.999:
        assert mean(image, 0.0, share) < 1e-4


def test_harmonic_weights_are_shares() -> None:
    with pytest.raises(ConfigError, match="together 1"):
        combine({"a": contrast, "b": contrast}, "harmonic", weights={"a": 1.0, "b": 1.0})


def pairs(wins: float = 1.0) -> list[SubjectPair]:
    made = [Example(prompt=PROMPTS[1], completion=picture(10 + i)) for i in range(2)]
    return [SubjectPair(r, g, wins) for r, g in zip(REFERENCES, made, strict=True)]


def test_reward_preference_starts_at_log_2_with_opposite_gradients_for_opposite_labels() -> None:
    p = policy("sd", lora=2)
    with torch.no_grad():  # off the start of LoRA, where half of the gradients vanish
        for n, w in p.named_parameters():
            if "lora_B" in n:
                w.normal_(std=0.1, generator=torch.Generator().manual_seed(len(n)))
    algorithm = RewardPreference(p, reference=p.freeze("now"))
    sides = [algorithm.experience(Rows(pairs(w)), Step(0, 0)) for w in (1.0, 0.0)]
    loss = algorithm(sides[0])
    assert loss.metrics["preference"].value == pytest.approx(math.log(2), rel=1e-5)
    assert loss.metrics["margin"].value == pytest.approx(0, abs=1e-6)
    plain = gradient(RewardPreference(p, preference=0.0, reference=p.freeze("now")), sides[0])
    won, lost = (gradient(algorithm, s) - plain for s in sides)
    assert float(won.norm()) > 0
    assert near(won, -lost, to=1e-3)


def test_expected_label_loss_is_least_at_the_reward_gap() -> None:
    gap = 0.13
    d = torch.linspace(-1, 1, 2001)
    loss = losses.pairwise(d, float(torch.sigmoid(torch.tensor(gap))))
    assert float(d[loss.argmin()]) == pytest.approx(gap, abs=1e-3)


def test_reward_preference_is_diffusion_dpo_with_twice_its_beta() -> None:
    """One prompt, one noise, sure labels."""
    p = policy("sd", lora=2)
    algorithm = RewardPreference(p, beta=30.0)
    sides = algorithm.experience(Rows(pairs()), Step(0, 0))
    shared = type(sides.reference)(sides.generated.rows, sides.generated.groups, sides.reference.draw, None)
    generated = type(shared)(
        shared.rows,
        shared.groups,
        shared.draw,
        algorithm.reference.policy.likelihood(shared.groups, shared.draw).policy,
    )
    sides = type(sides)(sides.reference, generated, sides.labels)
    nudge(p)
    mine, other = (
        LogProbs(p.likelihood(s.groups, s.draw).policy, torch.ones(2), s.reference.flatten())
        for s in (sides.reference, generated)
    )  # type: ignore[union-attr]
    wanted = losses.dpo(mine, other, beta=60.0)
    assert algorithm(sides).metrics["preference"].value == pytest.approx(float(wanted.detach().mean()), rel=1e-4)


def test_labels_are_as_frequent_as_they_are_probable() -> None:
    p = policy("sd", lora=2)
    algorithm = RewardPreference(p)
    rows = Rows([pairs(0.3)[0]] * 8)
    drawn = torch.cat([algorithm.experience(rows, Step(i, 0)).labels for i in range(60)])
    assert float(drawn.mean()) == pytest.approx(0.3, abs=0.07)
    with pytest.raises(FeedbackError, match="SubjectPair"):
        algorithm.experience(Rows(REFERENCES), Step(0, 0))


def test_subject_pairs_are_labelled_by_the_reward_for_the_generated_prompt() -> None:
    def reward(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        assert prompts == [PROMPTS[1]] * len(prompts)
        return [float(c.mean()) for c in completions]

    made = [Example(prompt=PROMPTS[1], completion=picture(10 + i)) for i in range(3)]
    found = subject_pairs(REFERENCES, made, reward)

    for i, pair in enumerate(found):
        gap = float(picture(i % 2).mean() - picture(10 + i).mean())
        assert pair.wins == pytest.approx(1 / (1 + math.exp(-gap)), rel=1e-5)
