"""I4: a template's text holds the answer once, at its end, and what is scored is what the model would have to write."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from accord.errors import AccordError
from accord.feedback import read
from accord.policies import LanguagePolicy, Sampling
from accord.policies.tokenise import Tokeniser

from .architectures import saved
from .matrix import Note, one_line, spread
from .templates import TEMPLATES
from .tokenizers_ import KINDS

CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}}
ANSWERS: dict[str, Any] = {
    "plain": "Paris is the capital",
    "with spaces around": " Paris is the capital \n",
    "with reasoning as text": "<think>\nfirst the country\n</think>\n\nParis is the capital",
    "with reasoning as a field": {
        "role": "assistant",
        "content": "Paris is the capital",
        "reasoning_content": "first the country",
    },
    "a tool call": {"role": "assistant", "content": "", "tool_calls": [CALL]},
    "text and a tool call": {"role": "assistant", "content": "let me see", "tool_calls": [CALL]},
    "empty": "",
}
SYSTEM = {"role": "system", "content": "be brief"}
ASK = {"role": "user", "content": "what is 2 plus 3 ?"}
PROMPTS: dict[str, list[dict[str, Any]]] = {
    "a question": [ASK],
    "with a system message": [SYSTEM, ASK],
    "with turns before": [
        ASK,
        {"role": "assistant", "content": "<think>\n2 and 3\n</think>\n\n5"},
        {"role": "user", "content": "and twice that ?"},
    ],
}
MAKES = spread(
    list(KINDS), ("byte-level", "byte-level, one special token", "byte-level, adds eos", "SentencePiece", "unigram")
)


def tokeniser(template: str, kind: str) -> Tokeniser:
    t = TEMPLATES[template]
    made = KINDS[kind](t.special, t.bos, t.eos)
    made.chat_template = t.text
    ends = {i for i in made.convert_tokens_to_ids([s for s in t.special if "end" in s or "eot" in s]) if i is not None}
    return Tokeniser(made, f"{template} with {kind}", ends)


def refused(template: str, prompt: str, answer: str) -> bool:
    """Whether a refusal is what it ought to be: the template has no way to write this, or no model could write it."""
    t, said = TEMPLATES[template], ANSWERS[answer]
    if prompt == "with a system message" and not t.system:
        return True
    if isinstance(said, dict) and "tool_calls" in said and not t.tools:
        return True
    return t.thinks == "opens" and "reasoning" not in answer  # its generation prompt has begun to reason


@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_scored_tokens_say_the_whole_answer_once_at_their_end(template: str, kind: str, note: Note) -> None:
    t = tokeniser(template, kind)
    for prompt, answer in product(PROMPTS, ANSWERS):
        try:
            before, ids = t.prompt(PROMPTS[prompt]), t.completion(PROMPTS[prompt], ANSWERS[answer])
        except AccordError as refusal:
            if not refused(template, prompt, answer):
                raise
            one_line(refusal)
            continue
        where = f"{prompt}, {answer}: {t.inner.decode(ids)!r}"
        assert not refused(template, prompt, answer), where
        assert ids[-1] in t.ends, f"{where} has no end"
        assert not t.ends & set(ids[:-1]), f"{where} ends before its end"
        said, known = squeezed(t.inner.decode(before + ids[:-1])), squeezed(t.inner.decode(before))
        assert said.startswith(known), where
        at = 0
        for part in parts(ANSWERS[answer]):
            assert said[len(known) :].count(part) == 1 or part == squeezed("3"), f"{where} doesn't say {part!r} once"
            found = said.find(part, len(known) + at) - len(known)
            assert found >= at, f"{where} says {part!r} too early"
            at = found + len(part)
        if "tool call" not in answer:
            assert said.endswith(squeezed(content(ANSWERS[answer]))), f"{where} goes on after the answer"
            assert said.count("<think>") == said.count("</think>"), f"{where} thinks without an end"
    note("templates", template, thinks=TEMPLATES[template].thinks, tools="yes" if TEMPLATES[template].tools else "refused",
         system="yes" if TEMPLATES[template].system else "refused")  # fmt: skip
    note("tokenizers", kind, result="works")


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("byte")])
@pytest.mark.parametrize("template", [n for n, t in TEMPLATES.items() if t.thinks in ("no", "writes")])
def test_prompt_and_answer_together_are_the_templates_own_text(template: str, kind: str) -> None:
    t = tokeniser(template, kind)
    for answer in ("plain", "with spaces around", "with reasoning as text", "empty"):
        whole = t.inner.apply_chat_template([ASK, {"role": "assistant", "content": ANSWERS[answer]}], tokenize=False)
        made = t.inner.decode(t.prompt([ASK]) + t.completion([ASK], ANSWERS[answer]))
        assert whole.startswith(made), answer
        assert not whole[len(made) :].strip(), "nothing but white space is left out, and that after the end token"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_prompt_is_what_transformers_shows_a_model(template: str, kind: str) -> None:
    t = tokeniser(template, kind)
    for name, prompt in PROMPTS.items():
        if name == "with a system message" and not TEMPLATES[template].system:
            continue
        own = t.inner.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert t.prompt(prompt) == own


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_and_its_continuation_read_as_one(kind: str) -> None:
    t = Tokeniser(KINDS[kind]((), "<s>", "</s>"), kind)
    for prompt, answer in (
        ("The quick bro", "wn fox"),
        ("The quick", " bro wn"),
        ("the answer is:", "5"),
        ("the answer is\n", "5"),
        ("the", " "),
    ):
        ids = t.prompt(prompt) + t.completion(prompt, answer)
        assert ids[-1] == t.eos
        assert t.inner.decode(ids, skip_special_tokens=True).strip() == (prompt + answer).strip().replace("\n", "\n"), (
            prompt,
            answer,
        )
        assert t.decode(t.completion(prompt, answer)) == answer


@pytest.mark.parametrize("template", spread(list(TEMPLATES), ("Llama 3", "Qwen3", "Mistral")))
@pytest.mark.parametrize("kind", ["byte-level", "SentencePiece"])
def test_what_a_policy_sampled_is_given_back_as_an_answer(template: str, kind: str, tmp_path: Path) -> None:
    t = TEMPLATES[template]
    made = KINDS[kind](t.special, t.bos, t.eos)
    made.chat_template = t.text
    policy = LanguagePolicy.load(saved("llama", tmp_path, made))
    rollouts = policy.sample([[ASK]], 8, Sampling(max_new_tokens=12), seed=3)
    assert rollouts.actions.prompt_ids[0] == policy.tokeniser.prompt([ASK])
    for ids, text in zip(rollouts.actions.completion_ids, rollouts.completions, strict=True):
        assert policy.tokeniser.decode(ids) == text


@pytest.mark.parametrize("template", ["ChatML", "Llama 2", "Qwen3"])
def test_the_end_token_in_an_answer_is_refused_or_the_answers_only_one(template: str) -> None:
    t = tokeniser(template, "byte-level")
    end = t.inner.eos_token
    assert t.completion([ASK], f"Paris{end}") == t.completion([ASK], "Paris")
    with pytest.raises(AccordError) as refusal:
        t.completion([ASK], f"Paris{end} and more")
    one_line(refusal.value)


@pytest.mark.parametrize("written", [False, True], ids=["as a list", "as JSON text"])
@pytest.mark.parametrize("template", [n for n, t in TEMPLATES.items() if t.tools])
def test_a_files_tools_and_calls_reach_the_template(template: str, written: bool, tmp_path: Path) -> None:
    """From the file to the ids: the same text as transformers makes of the same record."""
    t = tokeniser(template, "byte-level")
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "of a city", "parameters": {}}}]
    said = {"role": "assistant", "content": "let me see", "tool_calls": [CALL]}
    file = tmp_path / "calls.jsonl"
    row = {
        "prompt": [ASK],
        "chosen": [said],
        "rejected": [{"role": "assistant", "content": "no"}],
        "tools": json.dumps(tools) if written else tools,
    }
    file.write_text(json.dumps(row) + "\n")
    (pair,) = read(file)
    made = t.inner.decode(t.prompt(pair.prompt) + t.completion(pair.prompt, pair.chosen))
    assert made == t.inner.apply_chat_template([ASK, said], tools=tools, tokenize=False).rstrip("\n")


def content(answer: Any) -> str:
    return answer if isinstance(answer, str) else answer["content"]


def parts(answer: Any) -> list[str]:
    """What must be written, in its order."""
    if isinstance(answer, str):
        return [squeezed(p) for p in answer.replace("<think>", "\0").replace("</think>", "\0").split("\0") if p.strip()]
    calls = [
        x
        for c in answer.get("tool_calls", ())
        for x in (c["function"]["name"], *map(str, c["function"]["arguments"].values()))
    ]
    return [squeezed(p) for p in (answer.get("reasoning_content", ""), answer["content"], *calls) if p]


def squeezed(text: str) -> str:
    """Without white space: templates and SentencePiece set it as they like."""
    return "".join(text.split())
