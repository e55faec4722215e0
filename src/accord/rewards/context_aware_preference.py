"""Which answer is better depends on the context: a reward that reads it, and what to do where it isn't known."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.errors import ConfigError, FeedbackError, one_of
from accord.feedback import Comparison, Prompt
from accord.feedback.messages import instructed
from accord.rewards.features import Features
from accord.rewards.heads import HeadReward
from accord.rewards.reward import Reward, score, score_pairs
from accord.rewards.scores import Scores


class ContextAware(HeadReward):
    """``r(x, c, y)``: a reward that reads a context with the prompt, by Bradley-Terry on comparisons that say theirs (CARM of Pitis et al.
    2024, arXiv 2407.14916). What teaches it to heed them are reversals: the same answers under two contexts, each of which prefers another.
    Called without the column `context` (or None in it), it reads the prompt alone; comparisons without one are what it learns that from.

    Args:
        contexts: those that it has learned from, among which a newcomer's is inferred.
    """

    def __init__(self, features: Features, *, hidden: int = 64, contexts: Sequence[str] = (), seed: int = 0) -> None:
        super().__init__(features, hidden=hidden, seed=seed)
        self.contexts = tuple(dict.fromkeys(contexts))

    @property
    def settings(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "contexts": self.contexts}

    @classmethod
    def fit(
        cls, records: Sequence[Comparison], features: Features, *, hidden: int = 64, **training: Any
    ) -> "ContextAware":
        """Train one on comparisons, with their contexts or without."""
        contexts = sorted({r.context for r in records if r.context is not None})
        if not contexts:
            raise FeedbackError("no comparison says its context: there is none to be aware of")
        made = cls(features, hidden=hidden, contexts=contexts, seed=training.get("seed", 0))
        return made.fitted([in_its_context(r) for r in records], **training)

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], context: Sequence[str | None] | None = None,
                 **columns: Any) -> Scores:  # fmt: skip
        told = [under(p, c) for p, c in zip(prompts, context or [None] * len(prompts), strict=True)]
        return super().__call__(prompts=told, completions=completions)

    def for_newcomer(self, said: Sequence[Comparison]) -> "Marginal":
        """The reward of somebody who said this: over the contexts under which they may have judged, as likely as that makes them."""
        return Marginal(self, inferred(self, said, self.contexts))


class Marginal:
    """A reward over contexts of which it is known how likely each is.

    Args:
        reward: reads the column `context`. likely: contexts with their probabilities.
        how: utility, ``sum_c p(c) r(x, c, y)``; or borda, ``sum_c p(c) mean over rivals s(r(x, c, y) - r(x, c, rival))`` among the answers of
            a group: what ordinary Bradley-Terry learns of people in a mixture of contexts. The orders of the two can differ.
    """

    def __init__(self, reward: Reward, likely: Mapping[str, float], how: str = "utility") -> None:
        one_of("how", how, "utility", "borda")
        if not likely or min(likely.values()) < 0 or abs(sum(likely.values()) - 1) > 1e-6:
            raise ConfigError(f"contexts want probabilities that sum to 1, but have {dict(likely)}")
        self.reward, self.likely, self.how, self.name = reward, dict(likely), how, f"marginal-{how}"

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], group: Sequence[int] | None = None,
                 **columns: Any) -> Scores:  # fmt: skip
        ids = list(group) if group is not None else list(range(len(prompts)))
        total = torch.zeros(len(prompts))
        for context, p in self.likely.items():
            told = {**columns, "context": [context] * len(prompts)}
            values = score(self.reward, prompts=prompts, completions=completions, group=ids, **told).values.cpu()
            total = total + p * (values if self.how == "utility" else wins(values, ids))
        return Scores.of(total)


def wins(values: Float[Tensor, "n"], group: Sequence[int]) -> Float[Tensor, "n"]:
    """Each answer's mean chance to beat the others of its group; 1/2 where it has none."""
    rivals = torch.tensor([[a == b and i != j for j, b in enumerate(group)] for i, a in enumerate(group)])
    chances = torch.sigmoid(values[:, None] - values[None]).masked_fill(~rivals, 0.0).sum(1)
    return torch.where(rivals.any(1), chances / rivals.sum(1).clamp(min=1), 0.5)


@torch.no_grad()
def inferred(reward: Reward, said: Sequence[Comparison], contexts: Sequence[str]) -> dict[str, float]:
    """How likely each context is for somebody who said this, all alike before: ``p(c) ~ prod_j s(lead of pair j under c)``; the order of
    the pairs does not matter."""
    if not contexts:
        raise ConfigError("there are no contexts to infer: give some")
    fits = [logsigmoid(_leads(reward, [p.model_copy(update={"context": c}) for p in said])).sum() for c in contexts]
    return dict(zip(contexts, torch.softmax(torch.stack(fits).double(), 0).tolist(), strict=True))


def reversals(prompt: Prompt, first: Any, second: Any, contexts: tuple[str, str], **more: Any) -> list[Comparison]:
    """Two comparisons of the same answers: under the first context the first one is better, under the other the second (RPR). Who can't
    tell contexts apart is right in exactly one of the two.

    Args:
        more: further fields of both.
    """
    if contexts[0] == contexts[1]:
        raise FeedbackError(f"a reversal has two contexts, but both are {contexts[0]!r}")
    return [Comparison(prompt=prompt, chosen=good, rejected=bad, context=c, **more)
            for c, good, bad in zip(contexts, (first, second), (second, first), strict=True)]  # fmt: skip


def reversed_indeed(pairs: Sequence[Comparison], judge: Reward) -> list[Comparison]:
    """Of reversals (two in a row), those that a judge who reads contexts sees reversed too."""
    if len(pairs) % 2:
        raise FeedbackError(f"reversals come in twos, but these are {len(pairs)}")
    right = (_leads(judge, pairs) > 0).reshape(-1, 2).all(1).tolist()
    return [p for i, p in enumerate(pairs) if right[i // 2]]


def in_its_context(pair: Comparison) -> Comparison:
    """With the context in the prompt."""
    return pair.model_copy(update={"prompt": under(pair.prompt, pair.context)})


def under(prompt: Prompt, context: str | None) -> Prompt:
    return prompt if context is None else instructed(prompt, context)


def _leads(reward: Reward, pairs: Sequence[Comparison]) -> Float[Tensor, "n"]:
    if not pairs:
        return torch.zeros(0)
    told = [p.model_copy(update={"columns": {**p.columns, "context": p.context}}) for p in pairs]
    values = score_pairs(reward, told).values
    return values[0::2] - values[1::2]
