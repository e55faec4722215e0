"""The contract of a reward, rules, the cache, and the border to TRL."""

from pathlib import Path

import numpy as np
import pytest
import torch

from accord import rewards
from accord.errors import ConfigError, RewardError
from accord.rewards import Cached, Scores, Span, score
from told import call, fixed, says


def test_none_does_not_apply_and_nan_is_an_error() -> None:
    said = call(fixed([1.0, None, 2.0]), 3)
    assert said.valid.tolist() == [True, False, True]
    with pytest.raises(RewardError, match="sample 1"):
        call(fixed([1.0, float("nan")]), 2)
    with pytest.raises(RewardError, match="one number"):
        call(fixed(["x", 1.0]), 2)
    with pytest.raises(RewardError, match="values for 2 samples"):
        call(lambda **c: [1.0], 2)


@pytest.mark.parametrize("value", [
    [1.0, None, 2], (1, None, 2), iter([1.0, None, 2.0]), [np.float32(1), None, np.uint8(2)],
    [torch.tensor(1), None, torch.tensor(2.0)], [np.int64(1), None, True + 1],
])  # fmt: skip
def test_numbers_of_any_kind_in_any_sequence_are_read(value) -> None:  # type: ignore[no-untyped-def]
    said = call(says(value), 3)
    assert said.values.tolist() == [1, 0, 2]
    assert said.valid.tolist() == [True, False, True]


@pytest.mark.parametrize("value", [torch.tensor([1, 0]), torch.tensor([True, False]), torch.tensor([1.0, 0.0], dtype=torch.bfloat16),
                                   np.array([1, 0]), np.array([1.0, 0.0], dtype=np.float16), [True, False]])  # fmt: skip
def test_arrays_of_any_kind_come_out_in_single_precision(value) -> None:  # type: ignore[no-untyped-def]
    said = call(says(value), 2).values
    assert said.tolist() == [1, 0]
    assert said.dtype == torch.float32


@pytest.mark.parametrize("value", [
    {0: 5.0, 1: 6.0}, {5.0, 6.0}, "12", b"12", ["1", "2"], [[1.0], [2.0]], [torch.ones(1), torch.ones(1)], np.ones((2, 1)), 1.0, None, True,
    np.float64(1), torch.tensor(1.0), torch.ones(2, 1), torch.ones(3), (float(i) for i in range(3)), [1.0], [1j, 2j], torch.ones(2) * 1j,
    [float("nan"), 1.0], [1.0, float("inf")], torch.tensor([1.0, float("nan")]), Scores.of(torch.ones(3)),
    Scores(torch.ones(2), torch.ones(3, dtype=torch.bool)), Scores.of(torch.ones(2), aspects={"a": torch.ones(1)}), Scores.of(torch.tensor([float("nan"), 1])),
], ids=lambda v: str(v)[:30])  # fmt: skip
def test_anything_but_a_number_for_each_sample_is_one_line(value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RewardError) as caught:
        call(says(value), 2)
    assert "\n" not in str(caught.value)
    assert "<lambda>" in str(caught.value)


def test_single_values_keep_their_gradient() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    said = call(says([x[0] * 2, None, x[2] ** 2]), 3)
    (grad,) = torch.autograd.grad(said.values.sum(), x)
    assert grad.tolist() == [2, 0, 6]


def test_pictures_reach_a_reward_as_one_tensor_however_they_come() -> None:
    seen: list[torch.Tensor] = []

    def reward(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
        seen.append(completions)
        return completions.mean((1, 2, 3))

    images = torch.rand(4, 3, 5, 6)
    for shown in (images, list(images), tuple(images)):
        seen.clear()
        said = score(reward, prompts=["p"] * 4, completions=shown, group=[0, 0, 1, 1], batch_size=2)
        assert torch.equal(torch.cat(seen), images)
        assert len(seen) == 2
        assert torch.allclose(said.values, images.mean((1, 2, 3)))
    with pytest.raises(RewardError, match="one size"):
        score(reward, prompts=["p"] * 2, completions=[images[0], images[1, :, 1:]])


def test_messages_reach_a_reward_as_they_are_and_rules_read_them() -> None:
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    }
    said = {"role": "assistant", "content": "it is 5", "reasoning_content": "2 and 3"}
    seen = []
    score(
        lambda *, completions, **columns: seen.extend(completions) or [0.0] * 3,
        prompts=["p"] * 3,
        completions=[asked, said, "text"],
    )
    assert seen == [asked, said, "text"]
    both = {"prompts": ["p"] * 2, "completions": [asked, said]}
    assert score(rewards.json_call(), **both, call=[{"name": "f", "arguments": {"a": 1}}] * 2).values.tolist() == [1, 0]
    assert score(rewards.numeric_answer(), **both, answer=["5"] * 2).values.tolist() == [0, 1]
    assert score(rewards.length_penalty(1), **both).values.tolist() == [0, -2]
    there = rewards.to_trl(rewards.json_call())
    assert there(prompts=[[]] * 2, completions=[[asked], [said]], call=[{"name": "f", "arguments": {"a": 1}}] * 2) == [
        1,
        0,
    ]


def test_prompts_and_columns_have_an_entry_for_each_sample() -> None:
    for wrong in ({"prompts": ["p"]}, {"answer": ["x"]}, {"answer": 3}):
        with pytest.raises(RewardError, match="one entry for each of 2 samples"):
            score(says([1.0, 2.0]), **{"prompts": ["p"] * 2, "completions": ["a", "b"], **wrong})


def test_scores_of_pictures_are_kept_by_all_their_pixels() -> None:
    asked = []

    def reward(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
        asked.append(len(completions))
        return completions.mean((1, 2, 3))

    reward.fingerprint = "mean"  # type: ignore[attr-defined]
    images = torch.rand(1, 3, 40, 40).repeat(2, 1, 1, 1)
    images[1, 1, 20, 20] += 1  # where a tensor's text doesn't show it
    kept = Cached(reward, None)
    first, again = (score(kept, prompts=["p"] * 2, completions=images).values for _ in range(2))
    assert asked == [2]
    assert torch.equal(first, again)
    assert float(first[0]) != float(first[1])


def test_columns_reach_a_reward_by_name_and_batches_never_cut_a_group() -> None:
    seen: list[list[int]] = []

    def reward(*, prompts, completions, group, answer):  # type: ignore[no-untyped-def]
        seen.append(list(group))
        assert answer == [c.upper() for c in completions]
        return [float(ord(c)) for c in completions]

    texts = list("abcdef")
    said = score(
        reward, prompts=texts, completions=texts, batch_size=2, group=[0, 0, 0, 1, 2, 2], answer=list("ABCDEF")
    )
    assert said.values.tolist() == [float(ord(c)) for c in texts]
    assert seen == [[0, 0, 0], [1, 2, 2]]


# Rules.


def test_verifiable_rewards() -> None:
    def said(rule, texts: list[str], **columns) -> list[float]:  # type: ignore[no-untyped-def]
        return score(rule, prompts=["p"] * len(texts), completions=texts, **columns).values.tolist()

    assert said(
        rewards.numeric_answer(),
        ["so 1,234.50", "it is 12", "none", "3 then 7"],
        answer=["#### 1234.5", "13", "1", "7"],
    ) == [1, 0, 0, 1]
    assert said(rewards.numeric_answer(tolerance=0.1), ["3.14"], answer=["3.2"]) == [1]
    assert said(
        rewards.exact_answer(extract=r"<a>(.*?)</a>"), ["<a>no</a> <a> Yes </a>", "yes"], answer=["yes", "yes"]
    ) == [1, 0]
    assert said(rewards.matches(r"<think>.*</think>.*"), ["<think>\n</think> x", "x"]) == [1, 0]
    call_ = {"name": "f", "arguments": {"a": 1, "b": 2}}
    texts = [
        'ok {"name": "f", "arguments": {"a": 1, "b": 2}}',
        '{"name": "f", "arguments": {"a": 1}}',
        '{"name": "g", "arguments": {}}',
        "{oops",
    ]
    assert said(rewards.json_call(), texts, call=[call_] * 4) == [1.0, 0.5, 0.0, 0.0]
    assert said(rewards.length_penalty(2, per=0.5), ["a b c d", "a"]) == [-1.0, 0.0]
    unjudged = score(rewards.numeric_answer(), prompts=["p"], completions=["3"], answer=["no number"])
    assert unjudged.valid.tolist() == [False]
    with pytest.raises(ConfigError, match="column 'answer'"):
        said(rewards.exact_answer(), ["x"], other=["y"])
    with pytest.raises(ConfigError, match="not a regular expression"):
        rewards.matches("(")


# Caching and TRL.


def test_cache_knows_a_sample_again_after_a_restart_and_not_another_reward(tmp_path: Path) -> None:
    def counted(fingerprint: str):  # type: ignore[no-untyped-def]
        def reward(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
            return [None if c == "x" else float(len(c)) for c in completions]

        reward.fingerprint = fingerprint  # type: ignore[attr-defined]
        return Cached(reward, tmp_path)

    first, again, other = counted("1"), counted("1"), counted("2")
    for cached, misses in ((first, 3), (again, 0), (other, 3)):
        said = score(cached, prompts=["p"] * 4, completions=["x", "ab", "abc", "ab"])
        assert said.values.tolist() == [0, 2, 3, 2]
        assert said.valid.tolist() == [False, True, True, True]
        assert cached.misses == misses
    with pytest.raises(ConfigError, match="fingerprint"):
        Cached(fixed([1.0]), tmp_path)


def test_the_cache_gives_back_all_that_a_reward_said(tmp_path: Path) -> None:
    def reward(*, prompts, completions, **columns) -> Scores:  # type: ignore[no-untyped-def]
        x = torch.tensor([float(c) / 3 for c in completions], requires_grad=True)
        part = Scores.of(x * 2, answer=[c if c != "2" else None for c in completions])
        return Scores(x, x < 5, {"a": x + 1}, x + 2, torch.stack([x, -x], 1), ["x", *completions][: len(x)], list(completions), x > 0,
                      [[Span(0, 2, float(c))] for c in completions], x[:, None], x[:, None, None], {"one": part})  # fmt: skip

    reward.fingerprint = "all"  # type: ignore[attr-defined]
    plain = score(reward, prompts=["p"] * 3, completions=["0", "1", "2"]).detach()
    for order in ("012", "20"):
        kept = Cached(reward, tmp_path)
        said = score(kept, prompts=["p"] * len(order), completions=list(order))
        assert str(said) == str(plain.select([int(i) for i in order]))
        assert kept.misses == (3 if order == "012" else 0)

    def odd(**columns) -> Scores:  # type: ignore[no-untyped-def]
        return Scores.of(torch.ones(1), answer=[{1, 2}])

    odd.fingerprint = "odd"  # type: ignore[attr-defined]
    with pytest.raises(RewardError, match="what JSON can't say"):
        score(Cached(odd, None), prompts=["p"], completions=["x"])


def test_rewards_cross_the_border_to_trl_and_back() -> None:
    def theirs(prompts, completions, answer, **kwargs):  # type: ignore[no-untyped-def]
        return [
            float(c[0]["content"] == a) if isinstance(c, list) else None
            for c, a in zip(completions, answer, strict=True)
        ]

    ours = rewards.from_trl(theirs)
    chat = [{"role": "user", "content": "q"}]
    said = score(ours, prompts=[chat, "q"], completions=["4", "4"], answer=["4", "4"])
    assert said.values.tolist() == [1.0, 0.0]
    assert said.valid.tolist() == [True, False]
    back = rewards.to_trl(ours)
    message = [[{"role": "assistant", "content": "4"}]]
    assert back(prompts=[chat], completions=message, answer=["4"], completion_ids=[[1]], trainer_state=None) == [1.0]
    assert back.__name__ == "theirs"
