"""Prompts and completions: texts, turns of a conversation, pictures; and what makes two of them the same."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from torch import Tensor
from typing_extensions import TypedDict


@with_config(ConfigDict(extra="allow"))
class Message(TypedDict):
    """One turn of a conversation: text, or parts as transformers knows them, and whatever else a chat template reads.

    A part is ``{"type": "text", "text": …}`` or ``{"type": "image", "image": path, PIL picture or tensor [3, H, W] in
    [0, 1]}``. The content may be None beside tool calls. A conversation's first message carries the tools it may call.
    """

    role: str
    content: str | list[dict[str, Any]] | None
    tool_calls: NotRequired[list[dict[str, Any]]]
    tools: NotRequired[list[dict[str, Any]]]


SPOKEN = ("reasoning_content", "reasoning", "thinking", "tool_plan", "tool_calls", "function_call")
"""What an assistant's turn may say beside its content, or instead of it."""

KEPT = (*SPOKEN, "name", "tool_call_id", "channel", "tools")
"""Keys of a message that chat templates read; others (ids, times, counts of tokens) say nothing."""

Prompt = str | list[Message]
"""A text to be continued, or the turns of a conversation that wants an answer."""


def with_picture(text: str, *pictures: Any) -> list[Message]:
    """A prompt of a text and pictures to go by (a person's face, a subject)."""
    parts = [{"type": "image", "image": p} for p in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def instructed(prompt: Prompt, text: str) -> Prompt:
    """A prompt under an instruction: in a conversation its system message, behind what that says already; in a text before it."""
    if isinstance(prompt, str):
        return f"{text}\n\n{prompt}"
    first = prompt[0]
    if first["role"] == "system" and isinstance(first["content"], str):
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *prompt[1:]]
    return [{"role": "system", "content": text}, *prompt]


def text_of(prompt: Prompt) -> str:
    """What a prompt says: its text, or that of its last turn."""
    return prompt if isinstance(prompt, str) else _text(prompt[-1]["content"], " ")


def text_of_completion(completion: Any) -> str:
    """The text of a completion, without its tool calls and reasoning; nothing for a picture."""
    if isinstance(completion, Mapping):
        return _text(completion.get("content"), "")
    return completion if isinstance(completion, str) else ""


def _text(content: str | Sequence[Mapping[str, Any]] | None, between: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return between.join(p["text"] for p in content if p.get("type") == "text")


def pictures_of(prompt: Prompt) -> list[Any]:
    """The pictures that a prompt shows, in order."""
    if isinstance(prompt, str):
        return []
    parts = [p for m in prompt if isinstance(m["content"], list) for p in m["content"]]
    return [p["image"] for p in parts if p.get("type") == "image"]


def is_picture(value: Any) -> bool:
    """Whether it is a picture as such: a tensor, or a picture of PIL."""
    pil = sys.modules.get("PIL.Image")
    return isinstance(value, Tensor) or (pil is not None and isinstance(value, pil.Image))


def prompt_key(prompt: Prompt | Sequence[Message]) -> str:
    """A prompt as one string, equal exactly for equal prompts."""
    if isinstance(prompt, str):
        return prompt
    return "\x1e".join(_message_key(m) for m in prompt)


def _message_key(message: Message) -> str:
    more = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
    return f"{message['role']}\x1f{_content_key(message['content'])}" + (f"\x1f{picture_key(more)}" if more else "")


def _content_key(content: str | list[dict[str, Any]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\x1d".join(f"{k}\x1c{picture_key(v)}" for part in content for k, v in sorted(part.items()))


def picture_key(value: Any) -> str:
    """A completion, or a part of a prompt, as one string: a text or path as it is, a message as JSON, a picture by a hash
    of what it shows."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, sort_keys=True, default=picture_key)
    if isinstance(value, Tensor):
        data = value.detach().cpu().float().contiguous().numpy().tobytes()
    elif is_picture(value):
        data = f"{value.mode}{value.size}".encode() + value.tobytes()
    else:
        return str(value)
    return hashlib.blake2b(data, digest_size=16).hexdigest()
