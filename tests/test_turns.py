"""Episodes of several turns: whose tokens are whose, and that nothing is drawn or scored otherwise than in one."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from accord.errors import ConfigError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.turns import Tools, tagged_call
from accord.worlds import letters

PROMPTS = ["what is 2 plus 3 ?", "call the weather tool for oslo ."]
SHORT = Sampling(max_new_tokens=32)


def test_an_environment_with_nothing_to_say_is_plain_sampling(base_policy: LanguagePolicy) -> None:
    plain = base_policy.sample(PROMPTS, 3, SHORT, seed=4)
    talked = base_policy.sample(PROMPTS, 3, SHORT, seed=4, env=lambda prompt, said, columns: None)
    assert talked.completions == plain.completions
    assert torch.equal(talked.mask, plain.mask)
    assert torch.allclose(talked.logprobs, plain.logprobs)
    assert torch.equal(talked.finished, plain.finished)


def test_what_the_environment_says_stands_between_and_is_nobodys_action(base_policy: LanguagePolicy) -> None:
    seen: list[tuple[str, str, Any]] = []

    def env(prompt: Any, said: str, columns: Mapping[str, Any]) -> str | None:
        seen.append((prompt, said, columns["n"]))
        return " thank you for asking ." if said.count("thank you for asking .") < 2 else None

    drawn = base_policy.sample(PROMPTS, 2, SHORT, seed=1, env=env, context={"n": [10, 20]}, turns=3)
    assert {(p, n) for p, _, n in seen} == {(PROMPTS[0], 10), (PROMPTS[1], 20)}
    ids = drawn.actions.completion_ids
    inserted = base_policy.tokeniser.continued(" thank you for asking .")
    for i in range(4):
        own = drawn.mask[i, : len(ids[i])].tolist()
        theirs = [k for k, mine in zip(ids[i], own, strict=True) if not mine]
        assert theirs == inserted * (len(theirs) // len(inserted))
        assert base_policy.tokeniser.decode(ids[i]) == drawn.completions[i]
    assert (~drawn.mask[0, : len(ids[0])]).any(), "some turn was answered"
    assert not drawn.logprobs[~drawn.mask].any()
    again = base_policy.logprobs(drawn)
    assert torch.allclose(again[drawn.mask], drawn.logprobs[drawn.mask], atol=1e-4), (
        "each token as it was drawn, after all before it"
    )


def test_a_begun_answer_goes_on(base_policy: LanguagePolicy) -> None:
    begun = ["the answer is", "it is the"]
    drawn = base_policy.sample(PROMPTS, 2, Sampling(max_new_tokens=6, temperature=0.0), begun=begun)
    for i, text in enumerate(drawn.completions):
        assert text.startswith(begun[i // 2])
        assert not drawn.mask[i, :3].any()
        assert drawn.mask[i, 3]
    whole = base_policy.sample(
        [f"{PROMPTS[0]}"], 1, Sampling(max_new_tokens=1, temperature=0.0), begun=["the answer is"]
    )
    ids = base_policy.tokeniser.prompt(PROMPTS[0]) + base_policy.tokeniser.continued("the answer is")
    with torch.no_grad():
        wanted = int(base_policy.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    assert whole.actions.completion_ids[0][-1] == wanted
    with pytest.raises(ConfigError, match="begun wants a text for each of 2 prompts"):
        base_policy.sample(PROMPTS, 1, SHORT, begun=["one"])


def test_turns_are_counted_and_rows_are_their_own(base_policy: LanguagePolicy) -> None:
    asked: list[str] = []

    def env(prompt: Any, said: str, columns: Mapping[str, Any]) -> str:
        asked.append(prompt)
        return " you are welcome ."

    base_policy.sample(PROMPTS[:1], 1, SHORT, seed=2, env=env, turns=3)
    assert len(asked) <= 2, "after its last turn nobody asks"
    both, alone = (base_policy.sample(p, 1, SHORT, seed=2, env=env, turns=2) for p in (PROMPTS, PROMPTS[:1]))
    assert both.completions[0] == alone.completions[0]


def test_tools_are_functions_and_what_they_trip_over_is_said() -> None:
    tools = Tools({"add": lambda a, b: a + b}, tagged_call)
    call = '<tool_call>{"name": "add", "arguments": %s}</tool_call>'
    assert tools("?", "hm " + call % '{"a": 2, "b": 3}', {}) == "\n<result>5</result>\n"
    assert tools("?", "the answer is 5", {}) is None
    assert "TypeError" in str(tools("?", call % '{"a": 2}', {}))
    assert "there is no tool sub" in str(tools("?", '<tool_call>{"name": "sub", "parameters": {}}</tool_call>', {}))
    assert tools("?", '<tool_call>{"name": broken</tool_call>', {}) is None


def test_training_on_such_episodes_moves_only_what_the_policy_said() -> None:
    policy = letters.policy()
    drawn = policy.sample(
        PROMPTS, 2, SHORT, seed=1, env=lambda p, s, c: " thank you for asking ." if "thank" not in s else None
    )
    policy.logprobs(drawn).sum().backward()
    tree, _ = policy.rollout_tree(drawn)
    assert len(tree.leaves) == 4
    found = policy.logprobs(drawn)
    assert not found[~drawn.mask].any()
