"""Rewards that heed the request: answers edited to the corners of what they could be, and verdicts smoothed over texts alike."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor
from torch.nn.functional import normalize

from accord.engine.store import Store
from accord.errors import FeedbackError, wanted
from accord.feedback import Comparison, Prompt, kept, picture_key, prompt_key
from accord.rewards.features import Features
from accord.rewards.reward import Reward, name_of, reward_columns, score
from accord.rewards.saved import Kept, Saved
from accord.rewards.scores import Scores

Noisy = Callable[[str, Random], str]
"""A small edit of a text after which its verdict is still right."""


def misspelled(text: str, random: Random, share: float = 0.05) -> str:
    """Two letters change places in this share of the words, in one at least; numbers, names and words of less than five letters, which
    may carry the meaning, stay."""
    words = text.split(" ")
    plain = [i for i, w in enumerate(words) if len(w) > 4 and w.isalpha() and w.islower()]
    for i in random.sample(plain, min(len(plain), max(1, int(share * len(words))))):
        at = random.randrange(1, len(words[i]) - 2)
        words[i] = f"{words[i][:at]}{words[i][at + 1]}{words[i][at]}{words[i][at + 2 :]}"
    return " ".join(words)


def convex_augmented(
    pairs: Sequence[Comparison],
    features: Features,
    noisy: Noisy = misspelled,
    *,
    copies: int = 5,
    epochs: int = 1,
    seed: int = 0,
) -> list[Comparison]:
    """ConvexDA (Shen et al. 2023, arXiv 2309.16155): each chosen answer as one of its edited copies, drawn among those that stand at
    the corners of the convex hull of all of them; copies within are mixtures of these. As many pairs an epoch as there were.

    Args:
        features: of answers, in whose two main directions the hull is taken. noisy: makes a copy. copies: n, of each answer.
        epochs: so often all pairs, each time with another draw: train one epoch on what is returned.

    Raises:
        FeedbackError: a chosen answer is no text.
    """
    wanted(copies >= 1 and epochs >= 1, "ConvexDA wants copies and epochs of at least 1", (copies, epochs))
    odd = next((i for i, p in enumerate(pairs, 1) if not isinstance(p.chosen, str)), None)
    if odd is not None:
        raise FeedbackError(f"the chosen answer of record {odd} is no text, whose words could be edited: leave it out")
    edited = edited_copies(pairs, noisy, copies, seed=seed)
    rows = features([p.prompt for p, e in zip(pairs, edited, strict=True) for _ in e], [c for e in edited for c in e])
    ends = [[e[j] for j in corners(r)] for e, r in zip(edited, rows.split([len(e) for e in edited]), strict=True)]
    return told_by(ends, pairs, epochs, seed=seed)


def edited_copies(pairs: Sequence[Comparison], noisy: Noisy, copies: int = 5, *, seed: int = 0) -> list[list[str]]:
    """So many copies of each chosen answer; of equal ones the first."""
    return [
        list(dict.fromkeys(noisy(p.chosen, Random(f"copy:{seed}:{i}:{c}")) for c in range(copies)))
        for i, p in enumerate(pairs)
    ]


def told_by(
    copies: Sequence[Sequence[str]], pairs: Sequence[Comparison], epochs: int = 1, *, seed: int = 0
) -> list[Comparison]:
    """All pairs once an epoch, each time with one of its copies as the chosen answer; its note holds what stood there (`original`)."""
    return [
        kept(
            p.model_copy(update={"chosen": Random(f"corner:{seed}:{epoch}:{i}").choice(some)}),
            "edited",
            "convexda",
            was={"chosen": p.chosen},
        )
        for epoch in range(epochs)
        for i, (p, some) in enumerate(zip(pairs, copies, strict=True))
    ]


def corners(rows: Float[Tensor, "n d"]) -> list[int]:
    """Which rows are vertices of the convex hull in their two main directions; all of them, where they span no area."""
    centred = rows.double() - rows.double().mean(0)
    if len(rows) < 3:
        return list(range(len(rows)))
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    points = (u[:, :2] * s[:2]).numpy()
    try:
        return sorted(int(i) for i in ConvexHull(points).vertices)
    except (QhullError, ValueError):
        return list(range(len(rows)))


class RewardFusion(Saved):
    """``(R(x) + sum_c w_c R(c)) / (1 + sum_c w_c)``, over the k preferred texts c of the training data nearest to x, w_c the cosine of
    their features, none below `near` (Shen et al. 2023, arXiv 2309.16155). A text without neighbours keeps its reward; the aspect
    `neighbours` says how many there were.

    Args:
        reward: any. corpus: comparisons whose chosen answers are the texts; they are scored once. features: of prompt and answer
            together (`SentenceFeatures`, `TrunkFeatures`). k: most neighbours. near: least cosine, above 0.

    Raises:
        ConfigError: k or near lies outside its range.
    """

    def __init__(
        self, reward: Reward, corpus: Sequence[Comparison], features: Features, *, k: int = 5, near: float = 0.9
    ) -> None:
        super().__init__()
        wanted(k >= 0 and near > 0, "RewardFusion wants k >= 0 and near > 0", (k, near))
        self.reward, self.features, self.k, self.near = reward, features, k, near
        self.name = f"{name_of(reward)} fused"
        texts = list({_key(p.prompt, p.chosen): p for p in corpus}.values())
        said = self._said(texts)
        known = said.valid.nonzero()[:, 0].tolist()
        self._place = {_key(texts[i].prompt, texts[i].chosen): at for at, i in enumerate(known)}
        self._values = said.values.detach()[known]
        self._rows = self._unit([texts[i].prompt for i in known], [texts[i].chosen for i in known])

    @property
    def settings(self) -> dict[str, Any]:
        return {"k": self.k, "near": self.near}

    @property
    def parts(self) -> dict[str, Any]:
        return {"reward": self.reward}

    def weights(self) -> dict[str, Tensor]:
        """Of each text a hash, its features, and what it is worth."""
        texts = torch.tensor([list(key) for key in self._place], dtype=torch.uint8)
        return {"texts": texts, "features": self._rows, "values": self._values}

    def take(self, weights: dict[str, Tensor]) -> None:
        self._place = {bytes(key): at for at, key in enumerate(weights["texts"].tolist())}
        self._rows, self._values = weights["features"], weights["values"]

    @property
    def fingerprint(self) -> str:
        """There is none where the reward has none."""
        below = f"{self.reward.fingerprint}:{self.features.fingerprint}"  # type: ignore[attr-defined]
        return f"{below}:{b''.join(self._place).hex()}:{self.settings}"

    @classmethod
    def made(cls, kept: Kept) -> "RewardFusion":
        return cls(kept.part("reward"), (), kept.features, **kept.settings)

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        own = score(self.reward, prompts=prompts, completions=completions, **columns)
        weights = self._weights(prompts, completions).to(own.values.device)
        total = own.values + weights @ self._values.to(own.values.device)
        count = (weights > 0).sum(1).float()
        return own.with_values(total / (1 + weights.sum(1)), own=own.values, neighbours=count)

    @torch.no_grad()
    def _weights(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n c"]:
        """Cosines to the nearest texts, 0 for all others; a text is no neighbour of itself."""
        near = self._unit(prompts, completions) @ self._rows.T
        for i, text in enumerate(zip(prompts, completions, strict=True)):
            if (at := self._place.get(_key(*text))) is not None:
                near[i, at] = -torch.inf
        best = near.topk(min(self.k, near.shape[1]), 1)
        return torch.zeros_like(near).scatter(1, best.indices, best.values.masked_fill(best.values < self.near, 0.0))

    def _unit(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        if not len(prompts):
            return torch.zeros(0, self.features.width)
        return normalize(self.features(prompts, completions).float(), dim=-1)

    @torch.no_grad()
    def _said(self, texts: Sequence[Comparison]) -> Scores:
        if not texts:
            return Scores.of(torch.zeros(0))
        return score(self.reward, prompts=[p.prompt for p in texts], completions=[p.chosen for p in texts], batch_size=64,
                     **reward_columns(texts))  # fmt: skip


def _key(prompt: Prompt, completion: Any) -> bytes:
    return Store.key(prompt_key(prompt), picture_key(completion))
