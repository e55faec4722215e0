"""Chat templates: what they write for a prompt, and for an answer to it, of which they may not lose a word."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from accord.errors import FeedbackError, ModelError
from accord.feedback.records import Message

MARK = "ANSWERSTANDSHERE"
"""Stands for an answer where a template is asked what it writes around one."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message in which people keep what was thought before the answer."""


@dataclass(frozen=True)
class Frame:
    """What a template writes around an answer: up to its turn, up to its text, and after it."""

    opened: str
    before: str
    ending: str


@dataclass(frozen=True)
class Turn:
    """What follows an opened prompt: the answer's text, and what the template ends a turn with."""

    text: str
    ending: str


class Template:
    """A tokeniser's chat template."""

    def __init__(self, inner: Any, name: str) -> None:
        self.inner, self.name = inner, name
        self._last: tuple[Any, Any, Frame] | None = None

    def open(self, prompt: Sequence[Message]) -> str:
        """A prompt up to where the answer is to be written."""
        return self._render(prompt, open_turn=True)

    def turn(self, prompt: Sequence[Message], answer: Any, clean: Callable[[str], str] = lambda text: text) -> Turn:
        """An answer as the template writes it; where the template would lose some of it (reasoning, mostly), as it is.

        Args:
            answer: text, or an assistant's message. clean: of its text.

        Raises:
            FeedbackError: it can't be written whole after this prompt.
        """
        message = dict(answer) if isinstance(answer, Mapping) else {"role": "assistant", "content": answer}
        message["content"] = clean(_text(message.get("content")))
        frame = self.frame(prompt)
        written = self._render([*prompt, message], open_turn=False)
        if written.startswith(frame.opened):
            tail = written[len(frame.opened) :]
            if _holds(tail, message, frame.ending):
                ending = frame.ending if tail.endswith(frame.ending) else ""
                return Turn(tail.removesuffix(frame.ending), ending)
        if message.get("tool_calls"):
            raise FeedbackError(
                f"the chat template of {self.name} doesn't write an answer's tool calls: take one that does"
            )
        return Turn(self._spoken(message, frame), frame.ending)

    def frame(self, prompt: Sequence[Message]) -> Frame:
        """What stands around an answer to this prompt; kept for the next answer to the same."""
        by = self.inner.chat_template
        if self._last is None or self._last[0] is not prompt or self._last[1] != by:
            marked = self._render([*prompt, {"role": "assistant", "content": MARK}], open_turn=False)
            if marked.count(MARK) != 1:
                raise ModelError(f"the chat template of {self.name} doesn't write an assistant's answer once")
            self._last = (prompt, by, Frame(self.open(prompt), *marked.split(MARK)))
        return self._last[2]

    def _spoken(self, message: Mapping[str, Any], frame: Frame) -> str:
        """What the model itself would have to write after the opened prompt."""
        thought = next((str(message[k]).strip() for k in REASONING if message.get(k)), None)
        text = message["content"]
        if thought is not None:
            text = f"<think>\n{thought}\n</think>\n\n{text}"
        if frame.before.startswith(frame.opened):
            lead = frame.before[len(frame.opened) :]
            return text if "</think>" in lead and "<think>" in text else lead + text
        if not frame.opened.startswith(frame.before):
            raise FeedbackError(
                f"the chat template of {self.name} rewrites the prompt once an answer follows it; give prompts as "
                "plain text, or a template in which the generation prompt opens the assistant's turn"
            )
        # The generation prompt goes further than the turn's header: it opens the reasoning, say.
        begun = frame.opened[len(frame.before) :]
        if begun.strip() and text.startswith(begun.strip()):
            rest = text[len(begun.strip()) :]
            return rest.removeprefix(begun[len(begun.rstrip()) :])
        if begun.strip() and not ("<think>" in begun and "</think>" in text):
            raise FeedbackError(
                f"the chat template of {self.name} begins every answer with {begun!r}, but this one goes {text[:30]!r}: "
                "give its reasoning too (<think>…</think> before the answer, or the field reasoning_content)"
            )
        return text

    def _render(self, messages: Sequence[Any], *, open_turn: bool) -> str:
        if not self.inner.chat_template:
            raise ModelError(
                f"{self.name} has no chat template, but the prompts are lists of messages: give prompts as text, or "
                "set tokenizer.chat_template"
            )
        tools = messages[0].get("tools") if messages else None
        plain = [_plain(m) for m in messages]
        try:
            return self.inner.apply_chat_template(plain, tools=tools, tokenize=False, add_generation_prompt=open_turn)
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise FeedbackError(
                f"the chat template of {self.name} refuses a conversation of {[m['role'] for m in plain]}: {said[0]}"
            ) from error


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates expect it: text parts joined, arguments of tool calls as a table."""
    made = {k: v for k, v in message.items() if k != "tools"}
    content = made.get("content")
    if not isinstance(content, str) and all(p.get("type") == "text" for p in content or ()):
        made["content"] = _text(content)
    if made.get("tool_calls"):
        made["tool_calls"] = [_call(c) for c in made["tool_calls"]]
    return made


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function", call))
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except json.JSONDecodeError:
            raise FeedbackError(f"a tool call's arguments are no JSON: {function['arguments'][:60]!r}") from None
    return {**call, "function": function} if "function" in call else function


def _holds(tail: str, message: Mapping[str, Any], ending: str) -> bool:
    """Whether a rendered turn ends with all that the message says; templates may set white space as they like."""
    found = _squeezed(tail)
    told = [str(message[k]) for k in REASONING if message.get(k)]
    if message.get("tool_calls"):
        words = [w for c in message["tool_calls"] for w in _words(_call(c))]
        return all(_squeezed(t) in found for t in [*told, message["content"]]) and all(
            any(_squeezed(way) in found for way in ways) for ways in words
        )
    return found.endswith(_squeezed(message["content"]) + _squeezed(ending)) and all(
        _squeezed(t) in found for t in told
    )


def _words(call: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What a written tool call must hold, each in any of several ways: its name, its arguments' names and values."""
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    words: list[tuple[str, ...]] = [(str(function.get("name")),)]
    for key, value in arguments.items() if isinstance(arguments, Mapping) else ():
        written = json.dumps(value, ensure_ascii=False)
        words += [(str(key),), (written, written.strip('"'), json.dumps(value), str(value))]
    return words


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content or ())


def _squeezed(text: str) -> str:
    return "".join(text.split())
