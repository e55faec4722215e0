"""What a model can read of a record: nothing longer than it takes reaches it from the command line."""

from collections.abc import Callable
from typing import Any

from accord.cli.intake import Answers, Intake, Verdict, answers_of
from accord.errors import FeedbackError
from accord.feedback import Prompt, text_of, text_of_completion
from accord.rewards import BradleyTerry, EncoderReward

Ids = list[int]


def fits(intake: Intake, model: Any, max_tokens: int | None = None, *, answers: Answers = answers_of,
         writes: int = 0) -> Verdict:  # fmt: skip
    """Leaves out what is longer than was asked for or than the model takes, and answers that are the same tokens.

    Args:
        model: a policy or reward; one that reads no tokens takes everything.
        answers: those that it reads. writes: or so many tokens of an answer that isn't there yet.

    Raises:
        FeedbackError: (the verdict) the chat template can't show a record whole, and those are not to be skipped.
    """
    read = _reader(model, answers if not writes else lambda record: ())
    if read is None:
        return lambda record: None
    context = getattr(model, "context", None)
    taker = "reward" if isinstance(model, BradleyTerry) else "model"

    def verdict(record: Any) -> str | None:
        try:
            prompt, ids = read(record)
        except FeedbackError as error:
            if not intake.skip_bad:
                where = f"{intake.source}, {intake.place(record)}"
                raise FeedbackError(f"{where}: {error} (--skip-bad leaves it out)") from None
            return f"can't be shown whole: {error}"
        size = len(prompt) + max(map(len, ids), default=0)
        if max_tokens is not None and size > max_tokens:
            return f"longer than max_tokens={max_tokens}"
        if context is not None and size + writes > context:
            more = f", with an answer of {writes}" if writes > 1 else ""
            return f"longer than the {context} tokens that the {taker} takes{more}"
        if len(ids) > 1 and all(i == ids[0] for i in ids[1:]):
            return "its answers are the same tokens"
        return None

    return verdict


def _reader(model: Any, answers: Answers) -> Callable[[Any], tuple[Ids, list[Ids]]] | None:
    """The tokens of a record's prompt and of its answers, as a model reads them; None for one that reads none."""
    if isinstance(model, EncoderReward):
        tokens: Any = model.encoder.tokenizer
        return lambda r: (
            tokens("\n".join(_turns(r.prompt)), verbose=False)["input_ids"],
            [tokens(text_of_completion(a), verbose=False)["input_ids"] for a in answers(r)],
        )
    t = getattr(model, "tokeniser", None)
    if t is None:
        return None
    whole = {"whole": True} if getattr(model, "whole_answers", False) else {}
    return lambda r: (t.prompt(r.prompt), [t.completion(r.prompt, a, **whole) for a in answers(r)])


def _turns(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [text_of([message]) for message in prompt]
