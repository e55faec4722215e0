"""Rows of published benchmarks, as rows that accord reads. The layout is told by a row's fields, never by its file's name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from accord.errors import FeedbackError
from accord.feedback.fields import BadField, short
from accord.feedback.formats import file_rows

Row = Mapping[str, Any]
Read = Callable[[Row], list[dict[str, Any]]]


def benchmark_rows(source: Any, *, persons: bool = False) -> Any:
    """A source whose rows are such as `accord.read` takes, whatever benchmark they come from; others stay as they are.

    Knows RM-Bench, LLMBar, JudgeBench, HelpSteer2-Preference, PandaLM, Auto-J, Contrast-Instructions and lists of votes; RewardBench,
    HH and HelpSteer are read as they are.

    Args:
        source: path of a file; anything else is given back.
        persons: where a pair lists the votes of several people, make a comparison of each.

    Raises:
        FeedbackError: its pairs list no votes, but persons are asked for.
    """
    found = _benchmark(source, persons)
    if persons and not (isinstance(found, Benchmark) and found.layout is VOTES):
        raise FeedbackError(
            f"{source if isinstance(source, str | Path) else 'these records'}: its pairs list no votes of people: leave people out"
        )
    return found


def _benchmark(source: Any, persons: bool) -> Any:
    if not isinstance(source, str | Path) or not Path(source).is_file():
        return source
    path = Path(source)
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    if kind not in (".json", ".jsonl", ".parquet"):
        return source
    _, first = next(iter(file_rows(path, kind)), ("", None))
    layout = _layout(first, persons) if isinstance(first, Mapping) else None
    return source if layout is None else Benchmark(path, kind, layout)


@dataclass(frozen=True)
class Layout:
    """How a benchmark keeps its pairs.

    Attributes:
        fields: what its rows have. read: a row as rows that accord reads.
    """

    fields: frozenset[str]
    read: Read


@dataclass(frozen=True)
class Benchmark:
    """The rows of a benchmark's file; one that can't be read is a `BadField` in its place."""

    path: Path
    kind: str
    layout: Layout

    def __iter__(self) -> Iterator[Any]:
        for where, row in file_rows(self.path, self.kind):
            if not isinstance(row, Mapping):
                yield row
                continue
            try:
                for field in self.layout.fields:
                    if row.get(field) is None:
                        raise BadField(field, "is missing")
                yield from self.layout.read(row)
            except BadField as error:
                yield BadField("", f"of {where}: {error}")


def _layout(row: Row, persons: bool) -> Layout | None:
    if persons and isinstance(row.get("votes"), list):
        return VOTES
    if _texts(row.get("chosen")) and _texts(row.get("rejected")) and "prompt" in row:
        return RM_BENCH
    return next((layout for layout in LAYOUTS if layout.fields <= row.keys()), None)


def _texts(value: Any) -> bool:
    """Several texts; turns of a conversation are no texts."""
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _rm_bench(row: Row) -> list[dict[str, Any]]:
    """Three styles a side: each right answer against each wrong one. `style_chosen` and `style_rejected` are 0 short, 1 detailed,
    2 detailed with Markdown; `id` is the prompt's."""
    rest = {k: v for k, v in row.items() if k not in ("prompt", "chosen", "rejected")}
    return [
        {**rest, "prompt": row["prompt"], "chosen": c, "rejected": r, "style_chosen": i, "style_rejected": j}
        for (i, c), (j, r) in product(enumerate(row["chosen"]), enumerate(row["rejected"]))
    ]


def _pair(prompt: str, first: str, second: str, verdict: Callable[[Row], int | None], *more: str) -> Read:
    """Two answers and a verdict: 0 the first is better, 1 the second, None a tie (of strength 0)."""

    def read(row: Row) -> list[dict[str, Any]]:
        better = verdict(row)
        answers = (row[first], row[second])
        rest = {k: v for k, v in row.items() if k not in (prompt, first, second, *more)}
        told = {"prompt": row[prompt], "chosen": answers[better or 0], "rejected": answers[1 - (better or 0)]}
        return [{**rest, **told, **({} if better is not None else {"strength": 0.0})}]

    return read


def _one_of(field: str, words: Mapping[Any, int | None]) -> Callable[[Row], int | None]:
    def verdict(row: Row) -> int | None:
        if not isinstance(row[field], str | int) or row[field] not in words:
            raise BadField(field, f"is none of {', '.join(map(str, words))}, but {short(row[field])}")
        return words[row[field]]

    return verdict


def _judgebench(row: Row) -> list[dict[str, Any]]:
    made = _pair("question", "response_A", "response_B", _one_of("label", {"A>B": 0, "B>A": 1}), "label", "source")(row)
    return [{**m, "subset": row.get("source")} for m in made]


def _helpsteer2(row: Row) -> list[dict[str, Any]]:
    """-3 … 3, above 0 for the second response."""
    told = row["preference_strength"]
    if not isinstance(told, int | float) or isinstance(told, bool):
        raise BadField("preference_strength", f"wants a number from -3 to 3, but is {short(told)}")
    read = _pair("prompt", "response_1", "response_2", lambda r: int(told > 0), "preference_strength")
    return [{**made, "strength": abs(told)} for made in read(row)]


def _pandalm(row: Row) -> list[dict[str, Any]]:
    """Each of three people; 0 is a tie."""
    asked = f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
    names = [k for k in row if k.startswith("annotator")]
    rest = {k: v for k, v in row.items() if k not in ("instruction", "input", *names)}
    made = []
    for name in names:
        read = _pair("prompt", "response1", "response2", _one_of(name, {1: 0, 2: 1, 0: None}))
        told = read({**rest, "prompt": asked, name: row[name]})[0]
        made.append({**{k: v for k, v in told.items() if k != name}, "annotator": name})
    return made


def _contrast(row: Row) -> list[dict[str, Any]]:
    """Both requests, each with its own good answer (`…_response_j`) over the other's."""
    q, r = row["query"], row["retrieval"]
    own, other = row["query_response_j"], row["retrieval_response_j"]
    return [{"prompt": q, "chosen": own, "rejected": other}, {"prompt": r, "chosen": other, "rejected": own}]


def _votes(row: Row) -> list[dict[str, Any]]:
    """A comparison of each person who preferred one: [[who, chosen or rejected or equal], …]."""
    rest = {k: v for k, v in row.items() if k not in ("votes", "chosen", "rejected")}
    made = []
    for vote in row["votes"]:
        if not isinstance(vote, list) or len(vote) != 2 or vote[1] not in ("chosen", "rejected", "equal"):
            raise BadField("votes", f"wants [who, chosen or rejected or equal], but is {short(vote)}")
        sides = (row["chosen"], row["rejected"]) if vote[1] != "rejected" else (row["rejected"], row["chosen"])
        tie = {"strength": 0.0} if vote[1] == "equal" else {}
        made.append({**rest, "chosen": sides[0], "rejected": sides[1], "annotator": str(vote[0]), **tie})
    return made


RM_BENCH = Layout(frozenset({"prompt", "chosen", "rejected"}), _rm_bench)
VOTES = Layout(frozenset({"votes", "chosen", "rejected"}), _votes)
LAYOUTS = [
    Layout(frozenset({"input", "output_1", "output_2", "label"}),
           _pair("input", "output_1", "output_2", _one_of("label", {1: 0, 2: 1}), "label")),
    Layout(frozenset({"question", "response_A", "response_B", "label"}), _judgebench),
    Layout(frozenset({"prompt", "response_1", "response_2", "preference_strength"}), _helpsteer2),
    Layout(frozenset({"instruction", "response1", "response2", "annotator1"}), _pandalm),
    Layout(frozenset({"prompt", "response 1", "response 2", "label"}),
           _pair("prompt", "response 1", "response 2", _one_of("label", {0: 0, 1: 1, 2: None}), "label")),
    Layout(frozenset({"question", "response_j", "response_k"}), _pair("question", "response_j", "response_k", lambda row: 0)),
    Layout(frozenset({"query", "retrieval", "query_response_j", "retrieval_response_j"}), _contrast),
]  # fmt: skip
