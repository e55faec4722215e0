"""ACRE: does the reasoning carry the answer, if the options stand in another order?"""

from collections.abc import Callable, Sequence
from random import Random
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor

from accord.engine.seeds import derive
from accord.errors import FeedbackError, wanted
from accord.feedback import Prompt, prompt_key
from accord.policies.base import Sampling
from accord.policies.capabilities import Samples
from accord.rewards.answers import choice
from accord.rewards.pieces import sentences
from accord.rewards.reward import Reward, score
from accord.rewards.scores import Scores

Ask = Callable[[str, Sequence[str]], Prompt]
"""A question and its options, in the order of their letters, to a prompt."""


def asked(question: str, options: Sequence[str]) -> str:
    """The question, its options under letters, and the form of the answer."""
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False))
    return f"{question}\n{listed}\nThink between <think> and </think>, then give the letter between <answer> and </answer>."


class AnswerConsistency:
    """``alpha_1`` where the answer is right and stays right when the options are shuffled and the same reasoning is read again, ``alpha_2``
    where only the first was, ``alpha_3`` where only the second is, else 0: the reward of ACRE (Huang et al. 2025, arXiv 2510.10104).

    The second answer is the policy's own, and nobody's action: it is drawn after the reasoning, up to where an answer begins.
    What has no options is worth alpha_1 if `plain` finds it right.

    Args:
        policy: that is asked again, as it is then.
        alphas: alpha_1 > alpha_2 >= alpha_3 >= 0.
        form: added where the completion has both parts, and only those.
        again: so many shuffled readings, whose mean counts. sampling: of the second answers.
        ask: writes a question with its options; the prompts must have been written by it too.
        question, options, answer: columns: a text, a list of texts, the right one of them.
        plain: a reward for what has no options, in [0, 1].
        without_last: leave the reasoning's last sentence out, which often names a letter.
        seed: of the shuffles and second answers.
    """

    def __init__(self, policy: Samples, alphas: tuple[float, float, float] = (1.0, 0.5, 0.2), *, form: float = 0.5, again: int = 1,
                 sampling: Sampling = Sampling(max_new_tokens=8), ask: Ask = asked, question: str = "question", options: str = "options",
                 answer: str = "answer", plain: Reward | None = None, without_last: bool = False, seed: int = 0) -> None:  # fmt: skip
        wanted(alphas[0] >= alphas[1] >= alphas[2] >= 0 and again >= 1 and form >= 0,
               "ACRE wants alpha_1 >= alpha_2 >= alpha_3 >= 0, again >= 1, form >= 0", (alphas, again, form))  # fmt: skip
        self.policy, self.alphas, self.form, self.again, self.sampling, self.ask = (
            policy,
            alphas,
            form,
            again,
            sampling,
            ask,
        )
        self.columns = question, options, answer
        self.plain, self.without_last, self.seed = plain, without_last, seed

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> Scores:
        missing = next((c for c in self.columns if c not in columns), None)
        if missing is not None:
            raise FeedbackError(f"ACRE reads the column {missing!r}, but the data have only {sorted(columns)}")
        questions, options, right = (columns[c] for c in self.columns)
        parts = [split_answer(c) for c in completions]
        first = [content(p[1], o) if p and o else None for p, o in zip(parts, options, strict=True)]
        whole = [i for i, p in enumerate(parts) if p is not None and options[i] and shuffles(options[i])]
        second = self._read_again(whole, prompts, parts, questions, options, right)
        found = torch.zeros(len(completions))
        steady = torch.zeros(len(completions))
        for i, p in enumerate(parts):
            u = float(first[i] is not None and first[i] == right[i])
            w = second.get(i, u if p else 0.0)
            a1, a2, a3 = self.alphas
            found[i] = u * (w * a1 + (1 - w) * a2) + (1 - u) * w * a3
            steady[i] = w
        open_ = [i for i, o in enumerate(options) if not o]
        if open_:
            found[open_] = self.alphas[0] * self._without_options(open_, prompts, completions, columns)
        form = torch.tensor([float(p is not None) for p in parts])
        return Scores.of(found + self.form * form, aspects={"right": torch.tensor([float(a == r) for a, r in zip(first, right, strict=True)]),
                                                            "carried": steady, "format": form}, answer=first)  # fmt: skip

    def _without_options(
        self, rows: list[int], prompts: Sequence[Any], completions: Sequence[str], columns: dict[str, Any]
    ) -> Tensor:
        if self.plain is None:
            raise FeedbackError(
                "a question has no options to shuffle: give ACRE a reward for such (plain=…), or leave it out"
            )
        own: dict[str, Any] = {k: [v[i] for i in rows] for k, v in columns.items()}
        return score(
            self.plain, prompts=[prompts[i] for i in rows], completions=[completions[i] for i in rows], **own
        ).values

    def _read_again(self, rows: list[int], prompts: Sequence[Any], parts: Sequence[Any], questions: Sequence[str],
                    options: Sequence[Sequence[str]], right: Sequence[str]) -> dict[int, float]:  # fmt: skip
        """For each of these rows the share of shuffled readings whose answer is right."""
        if not rows:
            return {}
        asked_, begun, shuffled = [], [], []
        for i in rows:
            for j in range(self.again):
                order = moved(
                    list(options[i]), right[i], Random(derive(self.seed, i, j, purpose=prompt_key(prompts[i])))
                )
                shuffled.append(order)
                asked_.append(self.ask(questions[i], order))
                begun.append(f"<think>{_trace(parts[i][0], self.without_last)}</think><answer>")
        drawn = self.policy.sample(asked_, 1, self.sampling, seed=self.seed, begun=begun)  # type: ignore[call-arg]
        said = [
            content(text[len(start) :], order)
            for text, start, order in zip(drawn.completions, begun, shuffled, strict=True)
        ]
        return {
            i: sum(a == right[i] for a in said[k * self.again : (k + 1) * self.again]) / self.again
            for k, i in enumerate(rows)
        }


def split_answer(text: str) -> tuple[str, str] | None:
    """The reasoning and the answer of ``<think>…</think><answer>…</answer>``; None where a text is not of that form."""
    head, gap, rest = text.strip().partition("</think>")
    answer = rest.strip()
    if not (head.startswith("<think>") and gap and answer.startswith("<answer>") and answer.endswith("</answer>")):
        return None
    inside = answer.removeprefix("<answer>").removesuffix("</answer>")
    return None if "<" in inside or "<think>" in head[7:] else (head.removeprefix("<think>"), inside)


def content(said: str, options: Sequence[str]) -> str | None:
    """Which option an answer means, by its letter or by its words."""
    letter = choice(*ascii_uppercase[: len(options)])(said.split("</answer>")[0])
    if letter is not None:
        return options[ascii_uppercase.index(letter)]
    named = [o for o in options if o == said.split("</answer>")[0].strip()]
    return named[0] if len(named) == 1 else None


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


def _trace(trace: str, without_last: bool) -> str:
    if not without_last:
        return trace
    cut = sentences(trace)
    return trace[: cut[-1][0]] if len(cut) > 1 else trace
