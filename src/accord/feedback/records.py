"""Feedback as records: what a person or a judge said about completions of a prompt."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from torch import Tensor
from typing_extensions import TypedDict


class Message(TypedDict):
    """One turn of a conversation: text, or parts as transformers knows them.

    A part is ``{"type": "text", "text": …}`` or ``{"type": "image", "image": path or tensor [3, H, W] in [0, 1]}``.
    """

    role: str
    content: str | list[dict[str, Any]]


Prompt = str | list[Message]
"""A text to be continued, or the turns of a conversation that wants an answer."""

Text = Annotated[str, Field(strict=True)]


def _text_or_picture(value: Any) -> Any:
    if not isinstance(value, str | Tensor):
        raise ValueError(f"should be text, or a picture as its file's path or a tensor, not a {type(value).__name__}")
    return value


Completion = Annotated[Any, BeforeValidator(_text_or_picture)]
"""What a generator put out: text; or a picture, by its path or as a tensor [3, H, W] in [0, 1]."""


class Provenance(BaseModel):
    """Where a record came from and what curation did to it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    source: str | None = None
    status: Literal["kept", "flipped", "dropped"] = "kept"
    tries: int = 1


class Record(BaseModel):
    """What every record has: a prompt, perhaps who judged it and under which principle, and further columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        """The same pair with the opposite verdict (a label found to be wrong)."""
        return self.model_copy(
            update={
                "chosen": self.rejected,
                "rejected": self.chosen,
                "aspects": {k: -v for k, v in self.aspects.items()},
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


class Example(Record):
    """A completion to imitate."""

    completion: Completion


class Task(Record):
    """A prompt to be answered; its columns (reference answer, rubric…) go to the rewards."""


AnyRecord = Comparison | Rating | Ranking | Label | Example | Task


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


def with_picture(text: str, *pictures: Any) -> list[Message]:
    """A prompt of a text and pictures to go by (a person's face, a subject)."""
    parts = [{"type": "image", "image": p} for p in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def text_of(prompt: Prompt) -> str:
    """What a prompt says: its text, or that of its last turn."""
    if isinstance(prompt, str):
        return prompt
    content = prompt[-1]["content"]
    return content if isinstance(content, str) else " ".join(p["text"] for p in content if p.get("type") == "text")


def pictures_of(prompt: Prompt) -> list[Any]:
    """The pictures that a prompt shows, in order."""
    if isinstance(prompt, str):
        return []
    parts = [p for m in prompt if not isinstance(m["content"], str) for p in m["content"]]
    return [p["image"] for p in parts if p.get("type") == "image"]


def prompt_key(prompt: Prompt | Sequence[Message]) -> str:
    """A prompt as one string, equal exactly for equal prompts."""
    if isinstance(prompt, str):
        return prompt
    return "\x1e".join(f"{m['role']}\x1f{_content_key(m['content'])}" for m in prompt)


def _content_key(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\x1d".join(f"{k}\x1c{picture_key(v)}" for part in content for k, v in sorted(part.items()))


def picture_key(picture: Any) -> str:
    """A path as it is, a tensor by a hash of its numbers."""
    if not isinstance(picture, Tensor):
        return str(picture)
    data = picture.detach().cpu().float().contiguous().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()
