"""ToolRL's reward: by hand, and what changes nothing or can only help."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms.rollout.grpo import GroupRelative
from accord.errors import ConfigError
from accord.rewards import Scores, ToolCalls, score
from accord.rewards.tool_calls import calls_of, follows
from test_algorithms import fake

Call = dict[str, Any]


def call(name: str, **parameters: Any) -> Call:
    return {"name": name, "parameters": parameters}


def written(*calls: Call) -> str:
    return "<think> hm </think>\n<tool_call>\n" + "\n".join(json.dumps(c) for c in calls) + "\n</tool_call>"


def of(completion: str, label: str, **options: Any) -> Scores:
    return score(ToolCalls(**options), prompts=["?"], completions=[completion], answer=[label])


ONE = written(call("weather", city="oslo", day="monday"))


@pytest.mark.parametrize(("found", "wanted"), [
    (ONE, 4.0),
    (written(call("weather", city="oslo", day="friday")), 1 + 1.5),
    (written(call("weather", city="oslo", day="friday", at="9")), 1 + 1.0),
    (written(call("news", city="oslo", day="monday")), 1 - 3.0),
    ('<think> hm </think>\n<tool_call>\n{"name": "weather", "param\n</tool_call>', 1 - 3.0),
    ('<tool_call>\n{"name": ', -3.0), ("<think> hm </think>\n<response> no </response>", -3.0),
    ('<think> hm </think>\n<tool_call>\n["weather"]\n</tool_call>', 1 - 3.0),
    ('<think> hm </think>\n<tool_call>\n{"name": "weather", "parameters": {"city": NaN}}\n</tool_call>', 1 - 3.0),
])  # fmt: skip
def test_by_hand(found: str, wanted: float) -> None:
    assert float(of(found, ONE).values) == pytest.approx(wanted)


names = st.sampled_from(["weather", "news", "time"])
some_calls = st.lists(st.builds(lambda n, p: {"name": n, "parameters": p}, names,
                                st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3)), min_size=1, max_size=3)  # fmt: skip


@given(some_calls, some_calls, st.randoms())
def test_order_changes_nothing_greedy_is_never_better_and_only_all_of_it_is_worth_most(
    right: list[Call], found: list[Call], random: Any
) -> None:
    best, greedy = (
        float(of(written(*found), written(*right), matching=m).aspects["correct"]) for m in ("best", "greedy")
    )
    assert greedy <= best + 1e-6
    shuffled = [{"parameters": dict(random.sample(sorted(c["parameters"].items()), len(c["parameters"]))), "name": c["name"]}
                for c in random.sample(found, len(found))]  # fmt: skip
    assert float(of(written(*shuffled), written(*right)).aspects["correct"]) == pytest.approx(best)
    same = sorted(json.dumps(c, sort_keys=True) for c in found) == sorted(json.dumps(c, sort_keys=True) for c in right)
    assert (best > 3 - 1e-5) == same
    more = float(of(written(*found, call("other")), written(*right)).aspects["correct"])
    assert more < best or best == -3, "a call that nobody asked for costs"
    if len({c["name"] for c in right}) == len(right) and len({c["name"] for c in found}) == len(found):
        assert greedy == pytest.approx(best)


def test_greedy_takes_a_call_that_another_needs_more() -> None:
    label = written(call("news", a=1), call("news", a=1, b=1))
    found = written(call("news", a=1, b=1), call("news", c=1))
    assert of(found, label, matching="greedy").values < of(found, label).values


def test_finer_rewards_tell_more_apart() -> None:
    near, far = written(call("weather", city="oslo", day="friday")), written(call("weather", town="rome"))
    worth = {g: [float(of(x, ONE, granularity=g).aspects["correct"]) for x in (ONE, near, far)]
             for g in ("fine", "intermediate", "strict", "coarse")}  # fmt: skip
    assert worth["coarse"] == [3, -3, -3]
    assert worth["intermediate"] == [3, 0, 0]
    assert worth["fine"][0] == worth["strict"][0] == 3
    assert worth["fine"][1] > worth["fine"][2] > -3


def test_form_weighs_less_than_correctness_unless_both_have_one_scale() -> None:
    sloppy, neat = ONE.replace("<think> hm </think>\n", ""), written(call("weather", city="oslo", day="friday"))
    assert of(sloppy, ONE).values > of(neat, ONE).values
    assert of(sloppy, ONE, low=-1.0, high=1.0).values < of(neat, ONE, low=-1.0, high=1.0).values


def test_json_values_are_told_apart_as_json_does() -> None:
    label = written(call("a", x=1, y="3", z=True))
    for wrong in (call("a", x=True, y="3", z=True), call("a", x=1, y=3, z=True), call("a", x=1, y="3", z=1)):
        assert of(written(wrong), label).values < of(label, label).values
    assert calls_of("<tool_call>\n" + '{"name": "a", "parameters": {"k": 1, "k": 2}}' + "\n</tool_call>") == [
        call("a", k=2)
    ]


def test_a_label_without_a_call_is_about_its_form_alone() -> None:
    label = "<think> x </think>\n<response> hello </response>"
    assert float(of(label, label).values) == 1
    assert float(of(ONE, label).values) == 0
    assert follows(label.replace("hello", "anything\nelse"), label)
    assert not follows(label + " more", label)
    assert not follows(label.replace("hello", "<response> hi </response>"), label)


def test_calls_in_other_tags_are_worth_the_same() -> None:
    pairs = (
        [call("weather", city="oslo"), call("time", city="rome")],
        [call("weather", city="lima"), call("time", city="rome")],
    )
    theirs, ours = (["".join(text) for text in map(in_tags, pairs)] for in_tags in (lambda calls: written(*calls).split("</think>\n")[1:],
                                                                                   lambda calls: [letters_call(*calls)]))  # fmt: skip
    for found in range(2):
        published = of(theirs[found], theirs[0])
        other = of(ours[found], ours[0], call="call", arguments="arguments", between=" ")
        assert torch.equal(published.values, other.values)
        assert published.answer == other.answer
    assert of(f"{ours[0]} .", ours[0], call="call", arguments="arguments", between=" ").aspects["format"] == 0
    assert of(ours[0], ours[0]).aspects["correct"] == 0, "in the published form it has no call"


def letters_call(*calls: Call) -> str:
    return " ".join(f"<call> {json.dumps({'name': c['name'], 'arguments': c['parameters']})} </call>" for c in calls)


def test_longer_thoughts_pay_where_that_is_asked_for() -> None:
    thought = ONE.replace("hm", "one two three four")
    assert float(of(thought, ONE, longer=8).values - of(ONE, ONE, longer=8).values) == pytest.approx(3 / 8)
    assert of(thought, ONE).values == of(ONE, ONE).values


def test_a_groups_advantages_do_not_change_with_the_range_of_the_whole_reward() -> None:
    found = [ONE, written(call("weather", city="rome")), written(call("news"))]
    said = score(ToolCalls(), prompts=["?"] * 3, completions=found, answer=[ONE] * 3)
    rollouts = fake([0, 0, 0], [2, 2, 2])
    a, b = (GroupRelative()(s, rollouts)[0].advantage for s in (said, said.with_values(5 * said.values - 7)))
    assert torch.allclose(a, b, atol=1e-3)


def test_labels_of_toolrls_own_data_are_worth_all_there_is(data_folder: Path) -> None:
    with gzip.open(data_folder / "tool-rl" / "rlla_test.jsonl.gz", "rt") as lines:
        rows = [json.loads(x) for x in lines]
    labels = [r["reward_model"]["ground_truth"] for r in rows]
    said = score(
        ToolCalls("reward_model"), prompts=labels, completions=labels, reward_model=[r["reward_model"] for r in rows]
    )
    calls = torch.tensor([float("<tool_call>" in x) for x in labels])
    assert torch.equal(said.aspects["correct"], 3 * calls)
    assert float(said.aspects["format"].mean()) > 0.9


def test_what_cannot_be_scored_is_said() -> None:
    with pytest.raises(ConfigError, match="reads its label from the column 'answer', but the data have only"):
        score(ToolCalls(), prompts=["?"], completions=["x"])
    with pytest.raises(ConfigError, match="a label's tool calls can't be read"):
        of(ONE, "<tool_call> nonsense </tool_call>")
