"""From a row as people keep it to a record. The shape is told by the row's fields, never by its file's name."""

import os.path
import re
from collections.abc import Mapping
from typing import Any

from accord.feedback.fields import BadField, empty, label, named_numbers, number, numbers, short
from accord.feedback.messages import Prompt, prompt_key
from accord.feedback.records import AnyRecord, Comparison, Example, Label, Marked, Ranking, Rating, Task
from accord.feedback.turns import TURN, answer, conversation, picture, spoken, transcript, with_tools

PICKED = ("jpg_0", "jpg_1")
CAPTIONS = ("caption", "text")
ASPECTS_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def record_of(row: Mapping[str, Any]) -> AnyRecord:
    """The record that a row of plain data holds; raises BadField where a field is missing or of the wrong type.

    Knows TRL's shapes (standard and conversational, explicit and implicit prompt), ShareGPT rankings, Anthropic HH
    transcripts, HelpSteer ratings, UltraFeedback answers, Pick-a-Pic's pairs, captioned pictures, and accord's own field names.
    """
    # A table of several shapes has all their columns: what tells a row's shape are those that it fills.
    full = {k for k, v in row.items() if v is not None}
    make = _shape(full, whole=True) or _shape(set(row), whole=False)
    if make is None:
        raise BadField(
            "prompt",
            f"the row has only {sorted(row)}; wanted chosen and rejected, or prompt with completion/completions, or "
            "messages (rename with --columns.chosen=… and the like)",
        )
    return with_tools(make(row))


def _shape(fields: set[str], *, whole: bool) -> Any:
    """The reader of the shape that has these fields; where not `whole`, one of a pair's two sides is enough."""
    pair = {"chosen", "rejected"}
    if fields >= pair if whole else fields & pair:
        return _comparison
    if fields >= {"label", "completion"}:
        return _label
    if fields >= {*PICKED, "caption", "label_0"}:
        return _picked
    if "completions" in fields:
        return _several
    if "response" in fields and fields & set(ASPECTS_HELPSTEER):
        return _helpsteer
    if "completion" in fields and fields & {"aspects", "rating", "score"}:
        return _rating
    if fields >= {"completion", "spans"}:
        return _marked
    if "messages" in fields:
        return _dialogue
    if whole:  # what is left has no field of its own by which to tell that another is missing
        return None
    if "image" in fields and fields & {*CAPTIONS}:
        return _captioned
    return _example if "completion" in fields else _task if "prompt" in fields else None


def _comparison(row: Mapping[str, Any]) -> Comparison:
    for name in ("chosen", "rejected"):
        if row.get(name) is None:
            raise BadField(name, "is missing")
    chosen, rejected = row["chosen"], row["rejected"]
    rest = _rest(row, "chosen", "rejected", "strength", "margin", "aspects", "conversations")
    rest |= {"strength": _strength(row), "aspects": {}}
    if not empty(row.get("aspects")):
        rest["aspects"] = named_numbers(row["aspects"], "aspects")
    turns = row.get("conversations")
    if turns is not None or row.get("prompt") is not None:
        prompt = _prompt(row) if turns is None else conversation(turns, "conversations")
        return Comparison(prompt=prompt, chosen=answer(chosen, "chosen"), rejected=answer(rejected, "rejected"), **rest)
    if isinstance(chosen, list) and isinstance(rejected, list):
        a, b = conversation(chosen, "chosen"), conversation(rejected, "rejected")
    elif isinstance(chosen, str) and isinstance(rejected, str) and TURN.match(chosen) and TURN.match(rejected):
        a, b = transcript(chosen, "chosen"), transcript(rejected, "rejected")
    elif isinstance(chosen, str) and isinstance(rejected, str):
        # The implicit prompt is what both share, cut back to the end of a word.
        shared = os.path.commonprefix([chosen, rejected])
        if shared not in (chosen, rejected):
            shared = shared[: len(shared) - len(re.search(r"\S*$", shared).group())]  # type: ignore[union-attr]
        return Comparison(prompt=shared, chosen=chosen[len(shared) :], rejected=rejected[len(shared) :], **rest)
    else:
        raise BadField("prompt", "is missing, and chosen and rejected are not two texts or two conversations")
    if not a[:-1] or prompt_key(a[:-1]) != prompt_key(b[:-1]):
        raise BadField("rejected", "its conversation differs from the chosen one before the last answer")
    return Comparison(prompt=a[:-1], chosen=spoken(a[-1], "chosen"), rejected=spoken(b[-1], "rejected"), **rest)


def _strength(row: Mapping[str, Any]) -> float | None:
    for name in ("strength", "margin"):
        if row.get(name) is not None:
            return number(row[name], name)
    better, worse = "score_chosen", "score_rejected"
    if row.get(better) is None or row.get(worse) is None:
        return None
    return max(0.0, number(row[better], better) - number(row[worse], worse))


def _label(row: Mapping[str, Any]) -> Label:
    good = label(row["label"], "label")
    return Label(prompt=_prompt(row), completion=_answer(row, "completion"), label=good, **_rest(row, "label"))


def _marked(row: Mapping[str, Any]) -> Marked:
    """Spans as lists (start, end, what is wrong), or as objects with these names."""
    if not isinstance(row["spans"], list):
        raise BadField("spans", f"wants a list of [start, end, what is wrong], but is {short(row['spans'])}")
    spans = [_span(s, i) for i, s in enumerate(row["spans"])]
    return Marked(prompt=_prompt(row), completion=_answer(row, "completion"), spans=spans, **_rest(row, "spans"))


def _span(given: Any, i: int) -> tuple[int, int, str]:
    parts = [given.get(k) for k in ("start", "end", "label")] if isinstance(given, Mapping) else given
    if not isinstance(parts, list | tuple) or len(parts) != 3 or not isinstance(parts[2], str):
        raise BadField(f"spans.{i}", f"wants start, end and what is wrong, but is {short(given)}")
    start, stop = (number(x, f"spans.{i}") for x in parts[:2])
    return int(start), int(stop), parts[2]


def _several(row: Mapping[str, Any]) -> Ranking:
    given = row["completions"]
    if not isinstance(given, list) or len(given) < 2:
        raise BadField("completions", "wants a list of at least two answers")
    return _ultrafeedback(row) if isinstance(given[0], Mapping) and "response" in given[0] else _ranking(row)


def _ranking(row: Mapping[str, Any]) -> Ranking:
    found = [answer(c, "completions") for c in row["completions"]]
    name = "scores" if row.get("scores") is not None else "ranks"
    scores: list[float] | None = None
    if row.get(name) is not None:
        scores = numbers(row[name], name)
        if len(scores) != len(found):
            raise BadField(name, f"has {len(scores)} values for {len(found)} completions")
        if name == "ranks":
            scores = [-s for s in scores]
        order = sorted(range(len(found)), key=scores.__getitem__, reverse=True)
        found, scores = [found[i] for i in order], [scores[i] for i in order]
    rest = _rest(row, "completions", "scores", "ranks")
    return Ranking(prompt=_prompt(row), completions=found, scores=scores, **rest)


def _ultrafeedback(row: Mapping[str, Any]) -> Ranking:
    scored = sorted((_scored(a, i) for i, a in enumerate(row["completions"])), key=lambda s: -s[0])
    prompt = row["instruction"] if isinstance(row.get("instruction"), str) else row.get("prompt")
    if not isinstance(prompt, str):
        raise BadField("instruction", "is missing")
    return Ranking(prompt=prompt, completions=[t for _, t in scored], scores=[s for s, _ in scored],
                   **_rest(row, "completions", "instruction"))  # fmt: skip


def _scored(given: Any, i: int) -> tuple[float, str]:
    """One answer of UltraFeedback with its score, or the mean of its ratings."""
    if not isinstance(given, Mapping) or not isinstance(given.get("response"), str):
        raise BadField("completions", f"answer {i} has no response text")
    for name in ("overall_score", "fine-grained_score"):
        if given.get(name) is not None:
            return number(given[name], f"completions.{i}.{name}"), given["response"]
    annotations = given.get("annotations")
    ratings = (
        [a.get("Rating") for a in annotations.values() if isinstance(a, Mapping)]
        if isinstance(annotations, Mapping)
        else []
    )
    known = [number(r, f"completions.{i}.annotations") for r in ratings if r not in (None, "N/A")]
    if not known:
        raise BadField("completions", f"answer {i} has neither overall_score nor annotations with a Rating")
    return sum(known) / len(known), given["response"]


def _helpsteer(row: Mapping[str, Any]) -> Rating:
    aspects = {a: number(row[a], a) for a in ASPECTS_HELPSTEER if row.get(a) is not None}
    rest = _rest(row, "response", *aspects)
    return Rating(prompt=_prompt(row), completion=_answer(row, "response"), aspects=aspects, **rest)


def _rating(row: Mapping[str, Any]) -> Rating:
    name = next((n for n in ("aspects", "rating", "score") if row.get(n) is not None), None)
    if name is None:
        raise BadField(next(n for n in ("aspects", "rating", "score") if n in row), "is missing")
    aspects = named_numbers(row[name], name) if name == "aspects" else {"overall": number(row[name], name)}
    rest = _rest(row, "aspects", "rating", "score")
    return Rating(prompt=_prompt(row), completion=_answer(row, "completion"), aspects=aspects, **rest)


def _dialogue(row: Mapping[str, Any]) -> Task | Example:
    turns = conversation(row["messages"], "messages")
    if turns[-1]["role"] != "assistant":
        return Task(prompt=turns, **_rest(row, "messages"))
    return Example(prompt=turns[:-1], completion=spoken(turns[-1], "messages"), **_rest(row, "messages"))


def _example(row: Mapping[str, Any]) -> Example:
    return Example(prompt=_prompt(row), completion=_answer(row, "completion"), **_rest(row))


def _picked(row: Mapping[str, Any]) -> Comparison:
    """Pick-a-Pic's layout: two pictures as bytes, and the first one's share of the verdict."""
    share = number(row["label_0"], "label_0")
    if share not in (0.0, 1.0):
        raise BadField("label_0", f"is {share:g}: a tie says nothing of two pictures")
    sides = [picture({"bytes": row[name]} if isinstance(row[name], bytes) else row[name], name) for name in PICKED]
    chosen, rejected = sides if share else sides[::-1]
    return Comparison(prompt=str(row["caption"]), chosen=chosen, rejected=rejected,
                      **_rest(row, *PICKED, "caption", "label_0", "label_1"))  # fmt: skip


def _captioned(row: Mapping[str, Any]) -> Example:
    """A picture with its caption, as `datasets` gives a folder of pictures."""
    name = next(n for n in CAPTIONS if row.get(n) is not None)
    if not isinstance(row[name], str):
        raise BadField(name, f"wants the picture's caption as text, but is {short(row[name])}")
    return Example(prompt=row[name], completion=picture(row["image"], "image"), **_rest(row, "image", name))


def _task(row: Mapping[str, Any]) -> Task:
    return Task(prompt=_prompt(row), **_rest(row))


def _prompt(row: Mapping[str, Any]) -> Prompt:
    prompt = row.get("prompt")
    if prompt is None:
        raise BadField("prompt", "is missing")
    return prompt if isinstance(prompt, str) else conversation(prompt, "prompt")


def _answer(row: Mapping[str, Any], field: str) -> Any:
    if row.get(field) is None:
        raise BadField(field, "is missing")
    return answer(row[field], field)


def _rest(row: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """Annotator and context, and every column that the shape itself did not use."""
    named: dict[str, Any] = {}
    if row.get("annotator") is not None:
        named["annotator"] = str(row["annotator"])
    if row.get("context") is None or isinstance(row["context"], str):  # a data set's own kind of context is a column
        named["context"] = row.get("context")
    if row.get("provenance") is not None:
        named["provenance"] = row["provenance"]
    own = {} if empty(row.get("columns")) else row["columns"]
    if not isinstance(own, Mapping):
        raise BadField("columns", f"wants names with values, but is {short(own)}")
    known = {"prompt", "completion", "columns", "annotator", "provenance", *used, *named}
    return {**named, "columns": {**own, **{k: v for k, v in row.items() if k not in known}}}
