"""Conversations and answers as people write them down, checked and brought to one form."""

import io
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from accord.feedback.fields import BadField, empty, short, structure
from accord.feedback.messages import KEPT, SPOKEN, Message, is_picture
from accord.feedback.records import Record

R = TypeVar("R", bound=Record)
TURN = re.compile(r"\n\n(Human|Assistant): ?")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}


def conversation(value: Any, field: str) -> list[Message]:
    """A list of messages, whether they say role and content or (ShareGPT) from and value."""
    if not isinstance(value, list) or not value:
        raise BadField(field, f"wants a text or a list of messages, but is {short(value)}")
    return [_message(m, i, field) for i, m in enumerate(value)]


def _message(m: Any, i: int, field: str) -> Message:
    role = m.get("role", m.get("from")) if isinstance(m, Mapping) else None
    if not isinstance(role, str):
        raise BadField(field, f"message {i} wants a role and content, but is {short(m)}")
    more = {k: m[k] for k in KEPT if not empty(m.get(k))}
    if "tool_calls" in more:
        more["tool_calls"] = _mappings(more["tool_calls"], f"{field}.{i}.tool_calls")
    content = m.get("content", m.get("value"))
    if content is None and not more.keys() & set(SPOKEN):
        raise BadField(field, f"message {i} has no content: {short(m)}")
    if content is not None and not isinstance(content, str):
        content = _parts(content, i, field)
    return {"role": SHAREGPT_ROLES.get(role, role), "content": content, **more}  # type: ignore[typeddict-item]


def _parts(content: Any, i: int, field: str) -> list[dict[str, Any]]:
    """A content of several parts (text, pictures, …)."""
    if not isinstance(content, list) or not all(isinstance(p, Mapping) for p in content):
        raise BadField(field, f"message {i} wants its content as text or as parts, but is {short(content)}")
    parts = [{k: v for k, v in p.items() if v is not None} for p in content]
    for p in parts:
        if not isinstance(p.get("type"), str) or (p["type"] == "text" and not isinstance(p.get("text"), str)):
            raise BadField(field, f"message {i} has a part without type or text: {short(p)}")
        if p["type"] == "image":
            if "image" not in p:
                raise BadField(field, f"message {i} has an image part without its image: {short(p)}")
            p["image"] = picture(p["image"], field)
    return parts


def answer(value: Any, field: str) -> Any:
    """A completion: a text, a picture, an assistant's turn, or a list that holds one such turn.

    A turn that holds nothing but text becomes that text; one with tool calls, reasoning or the like stays a message.
    """
    if isinstance(value, str):
        return value
    if is_picture(value) or _encoded(value):
        return picture(value, field)
    turns = conversation([value] if isinstance(value, Mapping) else value, field)
    if len(turns) != 1:
        raise BadField(field, f"wants one assistant's turn after the prompt, but has {len(turns)}")
    return spoken(turns[0], field)


def spoken(turn: Message, field: str) -> str | Message:
    """What an assistant's turn says, as text where that is all."""
    if turn["role"] != "assistant":
        raise BadField(field, f"ends with a turn of {short(turn['role'])}: an answer is the assistant's")
    content = turn["content"]
    if isinstance(content, list) and content and all(p["type"] == "text" for p in content):
        content = "".join(p["text"] for p in content)
        turn = {**turn, "content": content}
    return content if isinstance(content, str) and len(turn) == 2 else turn


def picture(value: Any, field: str) -> Any:
    """A path, a tensor, a picture of PIL; or one as `datasets` stores it, as bytes or a path."""
    if not _encoded(value):
        if isinstance(value, str) or is_picture(value):
            return value
        raise BadField(field, f"wants a picture (its file's path, a tensor, a PIL picture), but is {short(value)}")
    if value.get("bytes") is None:
        return value["path"]
    from PIL import Image

    try:
        Image.open(io.BytesIO(value["bytes"])).verify()
        return Image.open(io.BytesIO(value["bytes"]))
    except Exception as error:  # PIL says what is wrong with a file in many ways (SyntaxError among them)
        raise BadField(field, f"holds bytes that are no picture: {short(str(error))}") from None


def _encoded(value: Any) -> bool:
    if not isinstance(value, Mapping) or not {"bytes", "path"} >= value.keys():
        return False
    return isinstance(value.get("bytes"), bytes) or (value.get("bytes") is None and isinstance(value.get("path"), str))


def transcript(text: str, field: str) -> list[Message]:
    """The turns of an Anthropic HH transcript (``\\n\\nHuman: … \\n\\nAssistant: …``)."""
    parts = TURN.split(text)
    if parts[0].strip() or len(parts) < 3:
        raise BadField(field, "is not a transcript of Human and Assistant turns")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[r], "content": t.strip()} for r, t in zip(parts[1::2], parts[2::2], strict=True)]


def as_conversation(record: R) -> R:
    """A text prompt as a user's message, so that the model's chat template frames it; tools go with it."""
    if not isinstance(record.prompt, str):
        return record
    return with_tools(record.model_copy(update={"prompt": [{"role": "user", "content": record.prompt}]}))


def with_tools(record: R) -> R:
    """The tools that a conversation may call, from the record's column onto its first message."""
    given = record.columns.get("tools")
    if isinstance(record.prompt, str) or empty(given):
        return record
    first = {**record.prompt[0], "tools": _mappings(given, "tools")}
    columns = {k: v for k, v in record.columns.items() if k != "tools"}
    return record.model_copy(update={"prompt": [first, *record.prompt[1:]], "columns": columns})


def _mappings(value: Any, field: str) -> list[dict[str, Any]]:
    found = structure(value, field)
    if not isinstance(found, list) or not found or not all(isinstance(x, Mapping) for x in found):
        raise BadField(field, f"wants a list of descriptions, but is {short(value)}")
    return found
