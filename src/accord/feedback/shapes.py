"""From a row as people keep it to a record. The shape is told by the row's fields, never by its file's name."""

import os.path
import re
from collections.abc import Mapping
from typing import Any

from accord.feedback.records import (
    AnyRecord,
    Comparison,
    Example,
    Label,
    Message,
    Prompt,
    Ranking,
    Rating,
    Task,
    text_of,
)

ASPECTS_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
TURN = re.compile(r"\n\n(Human|Assistant): ?")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}


class BadField(ValueError):
    """A field that is missing or not what its shape wants."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"field {field!r}: {problem}")


def record_of(row: Mapping[str, Any]) -> AnyRecord:
    """The record that a row holds; raises BadField where a field is missing or of the wrong type.

    Knows TRL's shapes (standard and conversational, explicit and implicit prompt), ShareGPT rankings, Anthropic HH
    transcripts, HelpSteer ratings, UltraFeedback answers, and accord's own field names.
    """
    fields = set(row)
    if "chosen" in fields or "rejected" in fields:
        return _comparison(row)
    if "label" in fields and "completion" in fields:
        if not isinstance(row["label"], bool | int) or row["label"] not in (0, 1):
            raise BadField("label", f"wants true or false, but is {row['label']!r}")
        return Label(
            prompt=_prompt(row), completion=_answer(row, "completion"), label=bool(row["label"]), **_rest(row, "label")
        )
    if "completions" in fields:
        return _ultrafeedback(row) if _is_ultrafeedback(row) else _ranking(row)
    if "response" in fields and fields & set(ASPECTS_HELPSTEER):
        aspects = {a: _number(row, a) for a in ASPECTS_HELPSTEER if row.get(a) is not None}
        return Rating(
            prompt=_prompt(row),
            completion=_answer(row, "response"),
            aspects=aspects,
            **_rest(row, "response", *aspects),
        )
    if "completion" in fields and fields & {"aspects", "rating", "score"}:
        return _rating(row)
    if "messages" in fields:
        messages = _messages(row["messages"], "messages")
        if messages[-1]["role"] != "assistant":
            return Task(prompt=messages, **_rest(row, "messages"))
        return Example(prompt=messages[:-1], completion=messages[-1]["content"], **_rest(row, "messages"))
    if "completion" in fields:
        return Example(prompt=_prompt(row), completion=_answer(row, "completion"), **_rest(row))
    if "prompt" in fields:
        return Task(prompt=_prompt(row), **_rest(row))
    raise BadField(
        "prompt",
        f"the row has only {sorted(fields)}; wanted chosen and rejected, or prompt with completion/completions, or "
        "messages (rename with --columns.chosen=… and the like)",
    )


def _comparison(row: Mapping[str, Any]) -> Comparison:
    for name in ("chosen", "rejected"):
        if row.get(name) is None:
            raise BadField(name, "is missing")
    chosen, rejected = row["chosen"], row["rejected"]
    strength = row.get("strength", row.get("margin"))
    if strength is None and row.get("score_chosen") is not None and row.get("score_rejected") is not None:
        strength = max(0.0, _number(row, "score_chosen") - _number(row, "score_rejected"))
    rest = _rest(row, "chosen", "rejected", "strength", "margin", "aspects", "conversations")
    rest |= {"strength": strength, "aspects": row.get("aspects") or {}}
    if "conversations" in row:
        prompt: Prompt = _messages(row["conversations"], "conversations")
        return Comparison(prompt=prompt, chosen=_answer(row, "chosen"), rejected=_answer(row, "rejected"), **rest)
    if "prompt" in row:
        return Comparison(prompt=_prompt(row), chosen=_answer(row, "chosen"), rejected=_answer(row, "rejected"), **rest)
    if isinstance(chosen, list) and isinstance(rejected, list):
        a, b = _messages(chosen, "chosen"), _messages(rejected, "rejected")
    elif isinstance(chosen, str) and isinstance(rejected, str) and TURN.match(chosen) and TURN.match(rejected):
        a, b = transcript(chosen, "chosen"), transcript(rejected, "rejected")
    elif isinstance(chosen, str) and isinstance(rejected, str):
        # The implicit prompt is what both share, cut back to the end of a word.
        shared = os.path.commonprefix([chosen, rejected])
        if shared not in (chosen, rejected):
            shared = shared[: len(shared) - len(re.search(r"\S*$", shared).group())]  # type: ignore[union-attr]
        return Comparison(prompt=shared, chosen=chosen[len(shared) :], rejected=rejected[len(shared) :], **rest)
    else:
        raise BadField("chosen", f"and rejected differ in type: {type(chosen).__name__} and {type(rejected).__name__}")
    if a[:-1] != b[:-1] or not a[:-1]:
        raise BadField("rejected", "its conversation differs from the chosen one before the last answer")
    return Comparison(prompt=a[:-1], chosen=a[-1]["content"], rejected=b[-1]["content"], **rest)


def transcript(text: str, field: str) -> list[Message]:
    """The turns of an Anthropic HH transcript (``\\n\\nHuman: … \\n\\nAssistant: …``)."""
    parts = TURN.split(text)
    if parts[0].strip() or len(parts) < 3:
        raise BadField(field, "is not a transcript of Human and Assistant turns")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [Message(role=roles[r], content=t.strip()) for r, t in zip(parts[1::2], parts[2::2], strict=True)]


def _ranking(row: Mapping[str, Any]) -> Ranking:
    texts: Any = row["completions"]
    scores: Any = row.get("scores")
    if not isinstance(texts, list) or len(texts) < 2 or not all(isinstance(t, str) for t in texts):
        raise BadField("completions", "wants a list of at least two texts")
    ranks = row.get("ranks")
    if scores is None and ranks is not None:
        scores = [-float(r) for r in ranks]
    if scores is not None:
        if len(scores) != len(texts):
            raise BadField(
                "scores" if ranks is None else "ranks", f"has {len(scores)} values for {len(texts)} completions"
            )
        order = sorted(range(len(texts)), key=lambda i: -scores[i])
        texts, scores = [texts[i] for i in order], [float(scores[i]) for i in order]
    return Ranking(
        prompt=_prompt(row), completions=texts, scores=scores, **_rest(row, "completions", "scores", "ranks")
    )


def _is_ultrafeedback(row: Mapping[str, Any]) -> bool:
    first = row["completions"][0] if isinstance(row["completions"], list) and row["completions"] else None
    return isinstance(first, Mapping) and "response" in first


def _ultrafeedback(row: Mapping[str, Any]) -> Ranking:
    scored = []
    for i, answer in enumerate(row["completions"]):
        score = answer.get("overall_score", answer.get("fine-grained_score"))
        if score is None:
            given = [_rated(a) for a in (answer.get("annotations") or {}).values()]
            known = [g for g in given if g is not None]
            if not known:
                raise BadField("completions", f"answer {i} has neither overall_score nor annotations")
            score = sum(known) / len(known)
        if not isinstance(answer.get("response"), str):
            raise BadField("completions", f"answer {i} has no response text")
        scored.append((float(score), answer["response"]))
    if len(scored) < 2:
        raise BadField("completions", "wants at least two answers")
    scored.sort(key=lambda s: -s[0])
    prompt = row.get("instruction", row.get("prompt"))
    if not isinstance(prompt, str):
        raise BadField("instruction", "is missing")
    return Ranking(prompt=prompt, completions=[t for _, t in scored], scores=[s for s, _ in scored],
                   **_rest(row, "completions", "instruction"))  # fmt: skip


def _rated(annotation: Any) -> float | None:
    rating = annotation.get("Rating") if isinstance(annotation, Mapping) else None
    try:
        return float(rating)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _rating(row: Mapping[str, Any]) -> Rating:
    if row.get("aspects"):
        aspects = {str(k): float(v) for k, v in row["aspects"].items() if v is not None}
    else:
        name = "rating" if "rating" in row else "score"
        aspects = {"overall": _number(row, name)}
    return Rating(
        prompt=_prompt(row),
        completion=_answer(row, "completion"),
        aspects=aspects,
        **_rest(row, "aspects", "rating", "score"),
    )


def _prompt(row: Mapping[str, Any]) -> Prompt:
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if prompt is None:
        raise BadField("prompt", "is missing")
    return _messages(prompt, "prompt")


def _answer(row: Mapping[str, Any], field: str) -> str:
    """A completion: a text, a message, or a list holding one assistant's message."""
    value = row[field]
    if isinstance(value, str):
        return value
    turns = _messages([value] if isinstance(value, Mapping) else value, field)
    if len(turns) != 1:
        raise BadField(field, f"wants one assistant's turn after the prompt, but has {len(turns)}")
    return text_of(turns)


def _messages(value: Any, field: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadField(field, f"wants a text or a list of messages, but is {_short(value)}")
    turns = []
    for i, m in enumerate(value):
        role, content = (
            (m.get("role", m.get("from")), m.get("content", m.get("value"))) if isinstance(m, Mapping) else (None, None)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadField(field, f"message {i} wants role and content as text, but is {_short(m)}")
        turns.append(Message(role=SHAREGPT_ROLES.get(role, role), content=content))
    return turns


def _number(row: Mapping[str, Any], field: str) -> float:
    try:
        return float(row[field])
    except (TypeError, ValueError):
        raise BadField(field, f"wants a number, but is {_short(row[field])}") from None


def _rest(row: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """Annotator and context, and every column that the shape itself did not use."""
    known = {"prompt", "completion", "annotator", "context", "provenance", "columns", *used}
    named = {k: row[k] for k in ("annotator", "context", "provenance") if row.get(k) is not None}
    return {**named, "columns": {**(row.get("columns") or {}), **{k: v for k, v in row.items() if k not in known}}}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
