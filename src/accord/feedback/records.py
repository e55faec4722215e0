"""Feedback as records: what a person or a judge said about completions of a prompt."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from accord.feedback.messages import (
    Message,
    Prompt,
    is_picture,
)

Text = Annotated[str, Field(strict=True)]


def _completion(value: Any) -> Any:
    turn = isinstance(value, Mapping) and value.get("role") == "assistant" and "content" in value
    if not isinstance(value, str) and not turn and not is_picture(value):
        raise ValueError(
            "should be text, an assistant's message, or a picture as its file's path or a tensor, not a "
            f"{type(value).__name__}"
        )
    return value


Completion = Annotated[Any, BeforeValidator(_completion)]
"""What a generator put out: text; an assistant's turn as a message, where it holds more than text (tool calls, reasoning);
or a picture, by its path, as PIL's or as a tensor [3, H, W] in [0, 1]."""


class Provenance(BaseModel):
    """Where a record came from and what curation did to it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    source: str | None = None
    status: Literal["kept", "flipped", "dropped"] = "kept"
    tries: int = 1


class Record(BaseModel):
    """What every record has: a prompt, perhaps who judged it and under which principle, and further columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: Text | list[Message]
    annotator: str | None = None
    context: str | None = None
    provenance: Provenance = Provenance()
    columns: dict[str, Any] = {}

    @field_validator("prompt")
    @classmethod
    def _some_message(cls, prompt: Prompt) -> Prompt:
        if not isinstance(prompt, str) and not prompt:
            raise ValueError("a conversation without messages")
        return prompt


class Comparison(Record):
    """`chosen` is preferred to `rejected`.

    Attributes:
        strength: how clearly, in whatever unit the source has (points apart, share of votes); > 0.
        aspects: per named aspect, above 0 where the chosen one is the better.
    """

    chosen: Completion
    rejected: Completion
    strength: float | None = Field(default=None, ge=0)
    aspects: dict[str, float] = {}

    def flipped(self) -> "Comparison":
        """The same pair with the opposite verdict (a label found to be wrong), with what columns like `score_chosen` and
        `score_rejected` say of either answer."""
        other = {"chosen": "rejected", "rejected": "chosen"}
        columns = {}
        for name, value in self.columns.items():
            stem, _, side = name.rpartition("_")
            columns[f"{stem}_{other[side]}" if stem and side in other else name] = value
        return self.model_copy(
            update={
                "chosen": self.rejected,
                "rejected": self.chosen,
                "aspects": {k: -v for k, v in self.aspects.items()},
                "columns": columns,
                "provenance": self.provenance.model_copy(update={"status": "flipped"}),
            }
        )


class Rating(Record):
    """A completion with a number for each named aspect (`overall` where there is only one)."""

    completion: Completion
    aspects: dict[str, float] = Field(min_length=1)


class Ranking(Record):
    """Completions of one prompt, best first; equal scores mean a tie."""

    completions: list[Completion] = Field(min_length=2)
    scores: list[float] | None = None

    @model_validator(mode="after")
    def _aligned(self) -> "Ranking":
        if self.scores is not None:
            if len(self.scores) != len(self.completions):
                raise ValueError(f"{len(self.completions)} completions but {len(self.scores)} scores")
            if any(a < b for a, b in zip(self.scores, self.scores[1:], strict=False)):
                raise ValueError("scores must not increase along a ranking (best first)")
        return self


class Label(Record):
    """A completion marked good or bad on its own, without a rival."""

    completion: Completion
    label: bool


class Marked(Record):
    """A completion in which somebody marked what is wrong, and how.

    Attributes:
        spans: first character, the one after the last, and what is wrong there; none where nothing is.
    """

    completion: Text
    spans: list[tuple[int, int, str]]

    @model_validator(mode="after")
    def _within(self) -> "Marked":
        odd = [s for s in self.spans if not 0 <= s[0] < s[1] <= len(self.completion)]
        if odd:
            raise ValueError(
                f"the span {list(odd[0])} does not lie within the completion of {len(self.completion)} characters"
            )
        return self


class Example(Record):
    """A completion to imitate."""

    completion: Completion


class Task(Record):
    """A prompt to be answered; its columns (reference answer, rubric…) go to the rewards."""


AnyRecord = Comparison | Rating | Ranking | Label | Marked | Example | Task


def comparisons_of(ranking: Ranking, *, min_gap: float = 0.0, neighbours_only: bool = False) -> list[Comparison]:
    """Every pair of a ranking whose scores lie more than `min_gap` apart (all pairs, where there are no scores)."""
    made = []
    n = len(ranking.completions)
    for i in range(n):
        for j in range(i + 1, min(i + 2, n) if neighbours_only else n):
            gap = None if ranking.scores is None else ranking.scores[i] - ranking.scores[j]
            if gap is not None and gap <= min_gap:
                continue
            shared = ranking.model_dump(exclude={"completions", "scores", "provenance"})
            made.append(
                Comparison(
                    **shared,
                    chosen=ranking.completions[i],
                    rejected=ranking.completions[j],
                    strength=gap,
                    provenance=ranking.provenance,
                )
            )
    return made


def prompt_of(row: Any) -> Prompt:
    """A row's prompt: a record's, or the row itself where it is one."""
    prompt: Prompt = row.prompt if isinstance(row, Record) else row
    return prompt


def columns_of(records: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns that any of these rows has, None where one lacks it; rows that are no records have none."""
    columns = [r.columns if isinstance(r, Record) else {} for r in records]
    return {k: [c.get(k) for c in columns] for k in sorted(set().union(*columns))}
