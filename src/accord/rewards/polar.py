"""POLAR: a reward that tells policies apart, pre-trained without any verdict, and then taught what people want."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch

from accord.engine.seeds import derive
from accord.errors import FeedbackError, RewardError, wanted
from accord.feedback import Comparison, Prompt, Ranking, text_of
from accord.policies.capabilities import Samples
from accord.rewards.classifier import BradleyTerry
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward
from accord.rewards.saved import Kept, Saved
from accord.rewards.scores import Scores

MARK = "<|reward|>"


class PolicyDiscriminator(Saved):
    """``R(p, ref, y)``, how much y is like what the author of ref would answer to p, read by a reward model behind
    ``p ref <|reward|> p y`` (POLAR, Dou et al. 2025, arXiv 2507.05197). In both stages it learns ``-log s(R(chosen) - R(rejected))``: first
    whether two answers are one policy's (`policy_triples`), then which is nearer to the best one in people's eyes (`beside_best`).

    It compares answers beside one reference, and no two prompts: by group, in reinforcement learning.

    Args:
        model: whose weights learn. between: stands between prompt and answer ("" where answers just go on).
        answer_tokens: longer references and answers lose their beginning. max_tokens: what is left of these is shared by both copies of
            the prompt, which keep their ends.
    """

    def __init__(
        self, model: BradleyTerry, *, between: str = "\n", answer_tokens: int = 1024, max_tokens: int | None = None
    ) -> None:
        super().__init__()
        limit = max_tokens or model.context or 4 * answer_tokens
        wanted(0 < 2 * answer_tokens < limit, "a reference and an answer must leave room for prompts: answer_tokens from 1 to less than half of the "
               f"{limit} tokens that the model takes", answer_tokens)  # fmt: skip
        self.model, self.between, self.answer_tokens, self.max_tokens = model, between, answer_tokens, limit
        inner = model.tokeniser.inner
        if inner.convert_tokens_to_ids(MARK) in (None, inner.unk_token_id):
            inner.add_tokens([MARK], special_tokens=True)
            words: Any = model.core.get_input_embeddings()
            if len(inner) > len(words.weight):
                model.core.resize_token_embeddings(len(inner), mean_resizing=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"between": self.between, "answer_tokens": self.answer_tokens, "max_tokens": self.max_tokens}

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model}

    @classmethod
    def made(cls, kept: Kept) -> "PolicyDiscriminator":
        return cls(kept.part("model"), **kept.settings)

    def fitted(self, rows: Sequence[Comparison], options: FitOptions | None = None, **training: Any) -> "PolicyDiscriminator":  # fmt: skip
        """Train on comparisons whose column `reference` holds the answer beside which they were made; returns itself."""
        laid = []
        for i, row in enumerate(rows, 1):
            if not isinstance(row.columns.get("reference"), str):
                raise FeedbackError(
                    f"record {i} has no text 'reference': policy_triples and beside_best make such rows"
                )
            text, (chosen, rejected) = self.laid_out(row.prompt, row.columns["reference"], row.chosen, row.rejected)
            laid.append(Comparison(prompt=text, chosen=chosen, rejected=rejected))
        fit_reward(RewardFitting(self.model, options or FitOptions()), laid,
                   **{"lr": 1e-5, "batch_size": 32, "epochs": 1, "progress": False, **training})  # fmt: skip
        return self

    @torch.no_grad()
    def __call__(
        self, *, prompts: Sequence[Prompt], completions: Sequence[Any], reference: Sequence[str | None] | None = None, **columns: Any
    ) -> Scores:  # fmt: skip
        """Scores beside each sample's reference. What comes before an answer is computed once for all answers to a prompt.

        Raises:
            RewardError: a sample has no reference.
        """
        if reference is None or None in reference:
            raise RewardError(
                "a policy discriminator compares with a reference answer: give the data a column 'reference'"
            )
        laid = [self.laid_out(p, str(r), c) for p, r, c in zip(prompts, reference, completions, strict=True)]
        place = {text: i for i, text in enumerate(dict.fromkeys(text for text, _ in laid))}
        return self.model(
            prompts=[text for text, _ in laid], completions=[c for _, (c,) in laid], group=[place[t] for t, _ in laid]
        )

    def laid_out(self, prompt: Prompt, reference: str, *answers: Any) -> tuple[str, list[str]]:
        """What the model reads before an answer, and the answers.

        Raises:
            FeedbackError: an answer is no text.
        """
        if odd := [a for a in answers if not isinstance(a, str)]:
            raise FeedbackError(f"a policy discriminator reads texts, not a {type(odd[0]).__name__}")
        known, (first, *rest) = self.model.tokeniser, (self._end(t, self.answer_tokens) for t in (reference, *answers))
        taken = len(known.continued(first)) + max(len(known.continued(t)) for t in rest) + 4
        asked = self._end(text_of(prompt), max(1, (self.max_tokens - taken) // 2 - len(known.continued(self.between))))
        return f"{asked}{self.between}{first}{MARK}{asked}{self.between}", rest

    def _end(self, text: str, most: int) -> str:
        """Its last tokens."""
        ids = self.model.tokeniser.continued(text)
        return text if len(ids) <= most else self.model.tokeniser.decode(ids[-most:])


def policy_triples(
    policies: Mapping[str, Samples], prompts: Sequence[Prompt], sampling: Any, *, seed: int = 0
) -> list[Comparison]:
    """For each prompt an answer of some policy over one of another, beside a further answer of the former (the column `reference`): who wrote
    it is all that counts. The column `policies` names both. Where two of the three are the same, nothing can be told: it is left out.

    Args:
        policies: at least two, by name. sampling: of all of them alike (they must not be told apart by where they stop), not greedy.
    """
    wanted(len(policies) >= 2, "telling policies apart wants at least two", len(policies))
    wanted(
        sampling.temperature > 0,
        "greedy answers of a policy are all the same: sample at a temperature above 0",
        sampling.temperature,
    )
    drawn = [Random(f"policies:{seed}:{i}").sample(list(policies), 2) for i in range(len(prompts))]
    answers: dict[tuple[int, str], list[Any]] = {}
    for name, policy in policies.items():
        for role, n in ((0, 2), (1, 1)):
            rows = [i for i, both in enumerate(drawn) if both[role] == name]
            if rows:
                said = policy.sample(
                    [prompts[i] for i in rows], n, sampling, seed=derive(seed, purpose=f"{name} {role}")
                ).completions
                answers |= {(i, "ab"[role]): said[n * at : n * (at + 1)] for at, i in enumerate(rows)}
    made = []
    for i, prompt in enumerate(prompts):
        (reference, own), (other,) = answers[i, "a"], answers[i, "b"]
        if len({reference, own, other}) == 3:
            made.append(
                Comparison(
                    prompt=prompt, chosen=own, rejected=other, columns={"reference": reference, "policies": drawn[i]}
                )
            )
    return made


def beside_best(rankings: Sequence[Ranking]) -> list[Comparison]:
    """Of each ranking the best answer as the reference, and all pairs of the others that differ: for the second stage.

    Raises:
        FeedbackError: a ranking has less than three answers.
    """
    made = []
    for i, ranking in enumerate(rankings, 1):
        best, *rest = ranking.completions
        if len(rest) < 2:
            raise FeedbackError(
                f"ranking {i} has {len(rest) + 1} answers: one is the reference, and two more are compared beside it"
            )
        worth = ranking.scores[1:] if ranking.scores else range(len(rest), 0, -1)
        made += [
            Comparison(prompt=ranking.prompt, chosen=a, rejected=b, annotator=ranking.annotator, columns={**ranking.columns, "reference": best})
            for j, a in enumerate(rest) for k, b in enumerate(rest) if worth[j] > worth[k]
        ]  # fmt: skip
    return made
