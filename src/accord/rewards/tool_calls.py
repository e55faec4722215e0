"""ToolRL: how well tool calls agree with the right ones, part by part."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from accord.errors import ConfigError, one_of, wanted
from accord.feedback import text_of_completion
from accord.rewards.scores import Scores

Granularity = Literal["fine", "intermediate", "strict", "coarse"]


@dataclass(frozen=True)
class Form:
    """How a completion is written: in which tags its thoughts, calls and response stand, with what between them, and under which key a
    call has its arguments."""

    call: str = "tool_call"
    arguments: str = "parameters"
    between: str = "\n"
    think: str = "think"
    response: str = "response"


PUBLISHED = Form()


class ToolCalls:
    """``R_format + R_correct``: 1 for a completion in the form that its label has, and between `low` and `high` by how well its calls
    match the label's: names, then for each matched pair keys and values (Qian et al. 2025, arXiv 2504.13958).

    ``<think>…</think>``, then ``<tool_call>``, a JSON object ``{"name": …, "parameters": {…}}`` a line, ``</tool_call>``, then
    ``<response>…</response>``; which of them, and how often, the label says. What can't be read is worth `low`; where the label has no
    call, only the form counts. Other models' habits are options: tags, what stands between them, the key of a call's arguments.

    Args:
        column: that holds the label, a text in the same form, or as verl keeps it, ``{"ground_truth": text}``.
        low, high: the range of R_correct; -1 and 1 give both rewards one scale (the paper's ablation).
        granularity: "fine"; "intermediate", a matched call is right or not; "strict", names and keys are right or not as lists;
            "coarse", all calls are right or not.
        matching: "best", the paper's; "greedy", the released code's: each label's call takes the best one left of its name.
        longer: adds ``min(words of thought / longer, 1)``, the length reward of the ablation.
        call: the tag of calls. arguments: key of a call's arguments. between: what stands between two parts.
    """

    def __init__(self, column: str = "answer", *, low: float = -3.0, high: float = 3.0, granularity: Granularity = "fine",
                 matching: Literal["best", "greedy"] = "best", longer: int | None = None, call: str = "tool_call",
                 arguments: str = "parameters", between: str = "\n") -> None:  # fmt: skip
        wanted(low < high, "a tool-call reward wants low < high", (low, high))
        one_of("granularity", granularity, "fine", "intermediate", "strict", "coarse")
        one_of("matching", matching, "best", "greedy")
        self.column, self.low, self.high, self.granularity, self.matching, self.longer = (
            column,
            low,
            high,
            granularity,
            matching,
            longer,
        )
        self.form = Form(call, arguments, between)

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Scores:
        if self.column not in columns:
            raise ConfigError(
                f"ToolCalls reads its label from the column {self.column!r}, but the data have only {sorted(columns)}"
            )
        texts = [text_of_completion(c) for c in completions]
        labels = [c["ground_truth"] if isinstance(c, Mapping) else c for c in columns[self.column]]
        pairs = list(zip(texts, labels, strict=True))
        form = torch.tensor([float(follows(t, label, self.form)) for t, label in pairs])
        right = torch.tensor([self.correct(t, label) for t, label in pairs])
        aspects = {"format": form, "correct": right}
        if self.longer is not None:
            words = [len((_inside(t, self.form.think) or "").split()) for t in texts]
            aspects["length"] = torch.tensor([min(w / self.longer, 1.0) for w in words])
        found = [calls_of(t, self.form) for t in texts]
        return Scores.of(sum(aspects.values(), torch.zeros(len(texts))), aspects=aspects, answer=found,
                         parsed=torch.tensor([f is not None for f in found]))  # fmt: skip

    def correct(self, text: str, label: str) -> float:
        """R_correct of a completion beside its label."""
        right, found = calls_of(label, self.form), calls_of(text, self.form)
        if right is None:
            raise ConfigError(f"a label's tool calls can't be read: {label[:80]!r}")
        if not right:
            return 0.0
        if not found:
            return self.low
        share = self._share(right, found)
        return self.low + (self.high - self.low) * share

    def _share(self, right: list[dict[str, Any]], found: list[dict[str, Any]]) -> float:
        if self.granularity == "coarse":
            return float(_plain(right) == _plain(found))
        names = [c["name"] for c in right], [c["name"] for c in found]
        total = float(names[0] == names[1]) if self.granularity == "strict" else jaccard(*names)
        most = 1.0 + len(right)
        if self.granularity != "intermediate":
            most += sum(len(c["parameters"]) for c in right)
        return (total + self._matched(right, found)) / most

    def _matched(self, right: list[dict[str, Any]], found: list[dict[str, Any]]) -> float:
        worth = np.array([[self._call(r, f) for f in found] for r in right])
        if self.matching == "best":
            return float(worth[linear_sum_assignment(worth, maximize=True)].sum())
        total, left = 0.0, set(range(len(found)))
        for i, row in enumerate(worth):
            same = [j for j in sorted(left) if found[j]["name"] == right[i]["name"]]
            best = max(same, key=lambda j: row[j], default=None)
            if best is not None and row[best] > 0:
                total += float(row[best])
                left.discard(best)
        return total

    def _call(self, right: dict[str, Any], found: dict[str, Any]) -> float:
        """Of one call beside another: 0 unless they name the same tool."""
        if right["name"] != found["name"]:
            return 0.0
        a, b = right["parameters"], found["parameters"]
        if self.granularity == "intermediate":
            return float(_plain(a) == _plain(b))
        keys = float(list(a) == list(b)) if self.granularity == "strict" else jaccard(a, b)
        return keys + sum(k in b and _plain(a[k]) == _plain(b[k]) for k in a)


def jaccard(a: Iterable[Any], b: Iterable[Any]) -> float:
    """Of two multisets: what they share over what there is; 1 where both are empty."""
    x, y = Counter(list(a)), Counter(list(b))  # a mapping would be taken for counts
    union = (x | y).total()
    return (x & y).total() / union if union else 1.0


def follows(text: str, label: str, form: Form = PUBLISHED) -> bool:
    """Whether a completion consists of the parts that its label has, each as often, in their order, and of nothing else."""
    tags = [form.think, form.call, form.response]
    parts = [tag for tag in tags for _ in range(label.count(f"<{tag}>"))]
    pattern = re.escape(form.between).join(rf"<{tag}>\n?.*?\n?</{tag}>" for tag in parts)
    as_often = all(text.count(f"<{tag}>") == parts.count(tag) == text.count(f"</{tag}>") for tag in tags)
    return as_often and re.fullmatch(pattern, text, re.DOTALL) is not None


def calls_of(text: str, form: Form = PUBLISHED) -> list[dict[str, Any]] | None:
    """The tool calls of a text, ``{"name": …, "parameters": {…}}``, none where it has none; None where they can't be read."""
    inside = re.findall(rf"<{form.call}>(.*?)</{form.call}>", text, re.DOTALL)
    if not inside:
        return None if f"<{form.call}>" in text or f"</{form.call}>" in text else []
    try:
        calls = [
            json.loads(line, parse_constant=_no_number) for part in inside for line in part.splitlines() if line.strip()
        ]
    except ValueError:
        return None
    sound = all(
        isinstance(c, dict) and isinstance(c.get("name"), str) and isinstance(c.get(form.arguments), dict)
        for c in calls
    )
    return [{"name": c["name"], "parameters": c[form.arguments]} for c in calls] if sound and calls else None


def _inside(text: str, tag: str) -> str | None:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return found.group(1) if found else None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _plain(value: Any) -> str:
    """As JSON with sorted keys: true is not 1, and 3 is not "3"."""
    return json.dumps(value, sort_keys=True)
