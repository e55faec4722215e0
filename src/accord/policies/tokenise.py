"""Text to token ids, with a completion's ids always following its prompt's ids unchanged."""

from collections.abc import Iterable, Sequence
from typing import Any

from accord.errors import FeedbackError, ModelError
from accord.feedback.records import Prompt
from accord.policies.template import Template

ANCHORS = ("\n", ":", ")", "a", "1")
"""Texts that a piece may follow to be encoded as a continuation."""


class Tokeniser:
    """A HF tokeniser that keeps prompt and completion apart.

    Text prompts are encoded as they are; conversations go through the chat template. A completion ends with the
    end-of-sequence token, or with the end token that the template puts after an assistant's turn.

    Attributes:
        ends: ids of every token that ends a completion.
    """

    def __init__(self, tokenizer: Any, name: str = "the tokeniser", ends: Iterable[int] = ()) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{name} has no end-of-sequence token: set tokenizer.eos_token before loading the policy")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.inner, self.name = tokenizer, name
        self.ends = {self.eos, *ends}
        self.template = Template(tokenizer, name)
        self._anchors = _anchors(tokenizer)

    @property
    def pad(self) -> int:
        return self.inner.pad_token_id

    @property
    def eos(self) -> int:
        return self.inner.eos_token_id

    def prompt(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt, at least one; raises ModelError where messages come without a chat template."""
        if not isinstance(prompt, str):
            return self._ids(self.template.open(prompt))
        ids = list(self.inner(prompt)["input_ids"])
        if ids and ids[-1] == self.eos and prompt and not prompt.endswith(self.inner.eos_token):
            ids.pop()  # some tokenisers close every text with EOS; a prompt stays open
        return ids or [self.inner.bos_token_id if self.inner.bos_token_id is not None else self.eos]

    def completion(self, prompt: Prompt, completion: Any, *, whole: bool = False) -> list[int]:
        """Ids of a completion to this prompt, its end included.

        Args:
            completion: a text, or an assistant's turn as a message (with tool calls or reasoning).
            whole: with what a template writes after the end token (a line break, mostly), which no policy samples, but
                where reward models read.

        Raises:
            FeedbackError: the template would not show the whole answer; or it holds an end token in its midst.
        """
        if isinstance(prompt, str):
            if not isinstance(completion, str):
                raise FeedbackError(
                    "an answer with tool calls or reasoning wants a conversation as its prompt, not a text"
                )
            return [*self.continued(self._without_end(completion)), self.eos]
        turn = self.template.turn(prompt, completion, self._without_end)
        ids = self.continued(turn.text + turn.ending)
        if whole:
            return ids
        first = len(ids) - len(self.continued(turn.ending))
        stop = next((i for i in range(max(first, 0), len(ids)) if ids[i] in self.ends), None)
        return [*self.continued(turn.text), self.eos] if stop is None else ids[: stop + 1]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that go on from others: a first space stays."""
        if not self._anchors:
            return self._text(ids)
        anchor, before = self._anchors[0]
        return self._text([*before, *ids]).removeprefix(anchor)

    def ends_of(self, ids: Sequence[int], stops: Sequence[int]) -> list[int]:
        """Which of these ids writes the last character before each place of their text that is no space; the last id, beyond it."""
        written = [len(self.decode(ids[: j + 1])) for j in range(len(ids))] if stops else []
        text = self.decode(ids) if stops else ""
        told = [len(text[:stop].rstrip()) if stop <= len(text) else stop for stop in stops]
        return [next((j for j, n in enumerate(written) if n >= stop), len(ids) - 1) for stop in told]

    def continued(self, text: str) -> list[int]:
        """Ids of a text that goes on from another: without the space that some tokenisers put before a text."""
        for anchor, before in self._anchors:
            ids = self._ids(anchor + text)
            if ids[: len(before)] == before:
                return ids[len(before) :]
        return self._ids(text)

    def _without_end(self, text: str) -> str:
        """An answer's text; the end token that some data hold as text is ours to write."""
        for end in (self.inner.convert_ids_to_tokens(i) for i in self.ends):
            text = text.removesuffix(end) if end else text
            if end and end in text:
                raise FeedbackError(f"an answer holds the end token {end!r} in its midst: take it out ({text[:40]!r}…)")
        return text

    def _ids(self, text: str) -> list[int]:
        return list(self.inner(text, add_special_tokens=False)["input_ids"])

    def _text(self, ids: Sequence[int]) -> str:
        return self.inner.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _anchors(inner: Any) -> list[tuple[str, list[int]]]:
    """Texts behind which another text is encoded as its continuation, with their ids; none where every text is.

    SentencePiece puts a space before a text: ids of "wn fox" after those of "The quick bro" would say "bro wn fox".
    """

    def ids(text: str) -> list[int]:
        return list(inner(text, add_special_tokens=False)["input_ids"])

    def text(of: list[int]) -> str:
        return inner.decode(of, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    if text(ids("a") + ids("a")) == "aa":
        return []
    found = []
    for anchor in ANCHORS:
        before = ids(anchor)
        joined = [ids(anchor + piece) for piece in ("b", " b")]
        kept = all(j[: len(before)] == before for j in joined)
        if before and kept and [text(j) for j in joined] == [f"{anchor}b", f"{anchor} b"]:
            found.append((anchor, before))
    return found
