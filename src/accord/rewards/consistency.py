"""ACRE: does the reasoning carry the answer, if the options stand in another order?"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.seeds import derive
from accord.errors import FeedbackError, one_of, wanted
from accord.feedback import Prompt, prompt_key, text_of
from accord.policies.base import Sampling
from accord.policies.capabilities import Samples
from accord.rewards.answers import choice
from accord.rewards.pieces import sentences
from accord.rewards.reward import Reward, score
from accord.rewards.scores import Scores

_LABEL = re.compile(r"\(([A-Za-z])\)|([A-Za-z])[):]?$")
_END = re.compile(r"\.(?=\s|$)|\n")
_OPTION = re.compile(
    r"(?:^|(?<=\s))(?:\(([A-Za-z])\)|([A-Z])[.):])\s+(.+?)(?=\s+(?:\([A-Za-z]\)|[A-Z][.):])\s|\s*\?\s*$|\s*$)",
    re.MULTILINE,
)
_IS = re.compile("the answer is", re.IGNORECASE)


class AnswerConsistency:
    """``alpha_1`` where the answer is right and stays right when the options are shuffled and the same reasoning is read again, ``alpha_2``
    where only the first was, ``alpha_3`` where only the second is, else 0: the reward of ACRE (Huang et al. 2025, arXiv 2510.10104).

    The second answer is the policy's own, and nobody's action: it is drawn after the reasoning, where an answer begins. Options change
    places in the prompt itself; what has none is worth alpha_1 if `plain` finds it right.

    Args:
        policy: that is asked again, as it is then.
        alphas: alpha_1 >= alpha_2 >= alpha_3 >= 0.
        form: added where the completion has both parts, and only those.
        again: so many shuffled readings, whose mean counts. sampling: of the second answers.
        layout: "tags", ``<think>…</think><answer>…</answer>``; "sentence", reasoning and then "the answer is …".
        choices: column of the options, in the order of their letters and as the prompt words them; None reads them off the prompt, where each
            stands behind its letter, "(A) …" or "A. …". answer: column of the right one, or of its letter.
        plain: a reward for what has no options, in [0, 1].
        without_last: leave the reasoning's last sentence out, which often names a letter.
        seed: of the shuffles and second answers.
    """

    def __init__(self, policy: Samples, alphas: tuple[float, float, float] = (1.0, 0.5, 0.2), *, form: float = 0.5, again: int = 1,
                 sampling: Sampling = Sampling(max_new_tokens=8), layout: Literal["tags", "sentence"] = "tags", choices: str | None = None,
                 answer: str = "answer", plain: Reward | None = None, without_last: bool = False, seed: int = 0) -> None:  # fmt: skip
        wanted(alphas[0] >= alphas[1] >= alphas[2] >= 0 and again >= 1 and form >= 0,
               "ACRE wants alpha_1 >= alpha_2 >= alpha_3 >= 0, again >= 1, form >= 0", (alphas, again, form))  # fmt: skip
        one_of("layout", layout, *LAYOUTS)
        self.policy, self.alphas, self.form, self.again, self.sampling = policy, alphas, form, again, sampling
        self.layout, self.choices, self.answer = layout, choices, answer
        self.plain, self.without_last, self.seed = plain, without_last, seed

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> Scores:
        missing = next((c for c in (self.choices, self.answer) if c is not None and c not in columns), None)
        if missing is not None:
            raise FeedbackError(f"ACRE reads the column {missing!r}, but the data have only {sorted(columns)}")
        options = [listed(text_of(p)) for p in prompts] if self.choices is None else columns[self.choices]
        right = [content(str(a), o) if o else None for a, o in zip(columns[self.answer], options, strict=True)]
        parts = [LAYOUTS[self.layout].split(c) for c in completions]
        first = [content(p[1], o) if p and o else None for p, o in zip(parts, options, strict=True)]
        u = torch.tensor([float(a is not None and a == r) for a, r in zip(first, right, strict=True)])
        form = torch.tensor([float(p is not None) for p in parts])
        w = self._read_again(prompts, parts, options, right, u * form)
        a1, a2, a3 = self.alphas
        found = u * (w * a1 + (1 - w) * a2) + (1 - u) * w * a3
        open_ = [i for i, o in enumerate(options) if not o]
        if open_:
            found[open_] = a1 * self._without_options(open_, prompts, completions, columns)
        return Scores.of(found + self.form * form, aspects={"right": u, "carried": w, "format": form}, answer=first)

    def _without_options(self, rows: list[int], prompts: Sequence[Any], completions: Sequence[str], columns: dict[str, Any]) -> Tensor:  # fmt: skip
        if self.plain is None:
            raise FeedbackError(
                "a question has no options to shuffle: give ACRE a reward for such (plain=…), or leave it out"
            )
        own: dict[str, Any] = {k: [v[i] for i in rows] for k, v in columns.items()}
        return score(
            self.plain, prompts=[prompts[i] for i in rows], completions=[completions[i] for i in rows], **own
        ).values

    def _read_again(self, prompts: Sequence[Any], parts: Sequence[Any], options: Sequence[Any], right: Sequence[str | None],
                    unasked: Float[Tensor, "n"]) -> Float[Tensor, "n"]:  # fmt: skip
        """The share of shuffled readings whose answer is right; where nothing can be shuffled, or there is no reasoning, `unasked`."""
        asked: list[tuple[int, Prompt, list[str], str]] = []
        for i, part in enumerate(parts):
            true = right[i]
            if part is None or true is None or not shuffles(options[i]):
                continue
            begun = LAYOUTS[self.layout].begin(_trace(part[0], self.without_last))
            for j in range(self.again):
                order = moved(list(options[i]), true, Random(derive(self.seed, i, j, purpose=prompt_key(prompts[i]))))
                prompt = reordered(prompts[i], options[i], order)
                if prompt is not None:
                    asked.append((i, prompt, order, begun))
        found = unasked.clone()
        if asked:
            drawn = self.policy.sample([a[1] for a in asked], 1, self.sampling, seed=self.seed, begun=[a[3] for a in asked])  # type: ignore[call-arg]  # fmt: skip
            found[[a[0] for a in asked]] = 0.0
            for (i, _, order, begun), text in zip(asked, drawn.completions, strict=True):
                found[i] += (content(text[len(begun) :], order) == right[i]) / self.again
        return found


@dataclass(frozen=True)
class Layout:
    """How reasoning and answer stand in a completion.

    Attributes:
        split: a completion to both; None where it has not this form. begin: what stands before the answer to this reasoning.
    """

    split: Callable[[str], tuple[str, str] | None]
    begin: Callable[[str], str]


def split_answer(text: str) -> tuple[str, str] | None:
    """The reasoning and the answer of ``<think>…</think><answer>…</answer>``; None where a text is not of that form."""
    head, gap, rest = text.strip().partition("</think>")
    answer = rest.strip()
    if not (head.startswith("<think>") and gap and answer.startswith("<answer>") and answer.endswith("</answer>")):
        return None
    inside = answer.removeprefix("<answer>").removesuffix("</answer>")
    return None if "<" in inside or "<think>" in head[7:] else (head.removeprefix("<think>"), inside)


def split_sentence(text: str) -> tuple[str, str] | None:
    """What stands before the last "the answer is", and what after it up to the sentence's end."""
    there = [*_IS.finditer(text)]
    said = text[there[-1].end() :] if there else ""
    return (text[: there[-1].start()].rstrip(), said) if said.strip() else None


LAYOUTS = {
    "tags": Layout(split_answer, "<think>{}</think><answer>".format),
    "sentence": Layout(split_sentence, lambda trace: f"{trace} the answer is".lstrip()),
}


def content(said: str, options: Sequence[str]) -> str | None:
    """Which option an answer means, by its letter or by its words."""
    words = _END.split(said.split("</answer>")[0].strip(), maxsplit=1)[0].strip()
    if words in options:
        return words
    letters = ascii_uppercase[: len(options)]
    label = _LABEL.match(words)
    named = (label[1] or label[2]).upper() if label else choice(*letters)(words)
    return options[letters.index(named)] if named and named in letters else None


def listed(text: str) -> list[str]:
    """The options that a text ends with, each behind its letter from A on; none where there are none."""
    found = [((m[1] or m[2]).upper(), m[3].strip()) for m in _OPTION.finditer(text)]
    start = max((i for i, (letter, _) in enumerate(found) if letter == "A"), default=len(found))
    run = found[start:]
    return [words for _, words in run] if "".join(letter for letter, _ in run) == ascii_uppercase[: len(run)] else []


def shuffles(options: Sequence[str]) -> bool:
    """Whether options mean the same in any order."""
    same = len({o.strip().lower() for o in options}) < len(options)
    return (
        len(options) >= 2
        and not same
        and not any(o.lower().startswith(("all of", "none of", "both ")) for o in options)
    )


def moved(options: list[str], right: str, random: Random) -> list[str]:
    """The options in another order, the right one under another letter."""
    at = options.index(right)
    others = [o for o in options if o != right]
    random.shuffle(others)
    place = random.choice([i for i in range(len(options)) if i != at])
    return [*others[:place], right, *others[place:]]


def reordered(prompt: Prompt, options: Sequence[str], order: Sequence[str]) -> Prompt | None:
    """A prompt whose options stand in another order; None where it doesn't word them so, one after the other."""
    text, end, pieces = text_of(prompt), None, []
    for old, new in zip(reversed(options), reversed(order), strict=True):
        there = [*re.finditer(rf"(?<![\w(]){re.escape(old)}(?![\w)])", text[:end])]
        if not there:
            return None
        pieces += [text[there[-1].end() : end], new]
        end = there[-1].start()
    made = text[:end] + "".join(reversed(pieces))
    return made if isinstance(prompt, str) else [*prompt[:-1], {**prompt[-1], "content": made}]


def _trace(trace: str, without_last: bool) -> str:
    if not without_last:
        return trace
    cut = sentences(trace)
    return trace[: cut[-1][0]] if len(cut) > 1 else trace
