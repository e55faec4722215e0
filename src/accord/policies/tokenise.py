"""Text to token ids, with a completion's ids always following its prompt's ids unchanged."""

from collections.abc import Sequence
from typing import Any

from accord.errors import ModelError
from accord.feedback.records import Message, Prompt


class Tokeniser:
    """A HF tokeniser that keeps prompt and completion apart.

    Text prompts are encoded as they are; lists of messages go through the chat template. A completion ends with the
    end-of-sequence token (or what the template puts after an assistant's turn).
    """

    def __init__(self, tokenizer: Any, name: str = "the tokeniser") -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{name} has no end-of-sequence token: set tokenizer.eos_token before loading the policy")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.inner = tokenizer
        self.name = name

    @property
    def pad(self) -> int:
        return self.inner.pad_token_id

    @property
    def eos(self) -> int:
        return self.inner.eos_token_id

    def prompt(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt, at least one; raises ModelError where messages come without a chat template."""
        if isinstance(prompt, str):
            ids = list(self.inner(prompt)["input_ids"])
            if ids and ids[-1] == self.eos and prompt and not prompt.endswith(self.inner.eos_token):
                ids.pop()  # some tokenisers close every text with EOS; a prompt stays open
            return ids or [self.inner.bos_token_id if self.inner.bos_token_id is not None else self.eos]
        return self._ids(self._render(prompt, open_turn=True))

    def completion(self, prompt: Prompt, completion: str) -> list[int]:
        """Ids of a whole completion to this prompt, ending included."""
        if isinstance(prompt, str):
            return [*self._ids(completion), self.eos]
        opened = self._render(prompt, open_turn=True)
        whole = self._render([*prompt, Message(role="assistant", content=completion)], open_turn=False)
        if not whole.startswith(opened):
            raise ModelError(
                f"the chat template of {self.name} rewrites the prompt once an answer follows it; give prompts as "
                "plain text, or a template in which the generation prompt opens the assistant's turn"
            )
        ids = self._ids(whole[len(opened) :])
        # What a template writes after the end token (a newline, mostly) is never sampled, so it isn't scored.
        return ids[: ids.index(self.eos) + 1] if self.eos in ids else ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.inner.decode(list(ids), skip_special_tokens=True)

    def _ids(self, text: str) -> list[int]:
        return list(self.inner(text, add_special_tokens=False)["input_ids"])

    def _render(self, messages: Sequence[Message], *, open_turn: bool) -> str:
        if not self.inner.chat_template:
            raise ModelError(
                f"{self.name} has no chat template, but the prompts are lists of messages: give prompts as text, or "
                "set tokenizer.chat_template"
            )
        return self.inner.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=open_turn)
