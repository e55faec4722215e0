"""Transforms of a reward: bounded, centred on what the base policy gets, or put on a running scale.

The shapes are pure functions of scores r and, for some, of reference scores of the same prompt; `shaped` and the
named makers below turn a reward and a shape into a reward. The raw value stays visible as the aspect "raw".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.engine import Seeds, gather
from accord.errors import ConfigError, RewardError
from accord.feedback import prompt_key
from accord.policies.base import Policy, Sampling
from accord.rewards.reward import Reward, load_state_of, name_of, score, score_drawn, state_of
from accord.rewards.scores import Scores

TOGETHER = 64
"""Prompts whose reference answers are drawn at once."""

Z85 = 1.0364
"""Standard normal quantile of 0.85."""


def preference_as_reward(r: Float[Tensor, "n"], references: Float[Tensor, "n m"]) -> Float[Tensor, "n"]:
    """PAR: ``mean_m s(r - ref_m)``, the chance to beat a reference answer (Fu et al. 2025, arXiv 2502.18770)."""
    return torch.sigmoid(_at_least_single(r)[:, None] - references).mean(-1)


def log_sigmoid_centred(r: Float[Tensor, "n"], reference: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """LSC: ``log s(r - ref)``, the log-probability of being good (Wang et al. 2024, arXiv 2402.00742)."""
    return logsigmoid(_at_least_single(r) - reference)


def _at_least_single(x: Tensor) -> Tensor:
    """Half precision saturates a sigmoid early."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class References:
    """Scores of the base policy's answers, by prompt: drawn and scored once, before training.

    Attributes:
        quantile: None for the mean, else the level in (0, 1) that counts as good, by the normal formula
            ``mean + z std`` (population std; with fewer than 8 scores it is shrunk towards that of all prompts).
    """

    def __init__(self, scores: Mapping[str, Float[Tensor, "m"]], quantile: float | None = 0.85) -> None:
        self.scores = {prompt: s.cpu() for prompt, s in scores.items()}
        self.quantile = quantile
        self._pooled = torch.stack([s.std(correction=0) for s in self.scores.values()]).mean() if self.scores else None

    @classmethod
    def sample(cls, reward: Reward, policy: Policy, prompts: Sequence[Any], n: int = 1, sampling: Sampling = Sampling(),
               *, seed: int = 0, quantile: float | None = 0.85, context: dict[str, list[Any]] | None = None) -> "References":  # fmt: skip
        """Draw n answers of (the frozen) `policy` to each prompt and score them."""
        unique = {prompt_key(p): i for i, p in enumerate(prompts)}
        columns = {k: [v[i] for i in unique.values()] for k, v in (context or {}).items()}
        asked, found = [prompts[i] for i in unique.values()], []
        for start in range(0, len(asked), TOGETHER):
            rows = range(start, min(start + TOGETHER, len(asked)))
            drawn = policy.sample([asked[i] for i in rows], n, sampling, seed=Seeds(seed, tuple(rows), len(asked)),
                                  context={k: [v[i] for i in rows] for k, v in columns.items()})  # fmt: skip
            found.append(score_drawn(reward, drawn, policy).values.detach().reshape(-1, n))
        return cls(dict(zip(unique, torch.cat(found), strict=True)), quantile)

    def of(self, prompts: Sequence[Any]) -> Float[Tensor, "n m"]:
        """All reference scores of each prompt; raises RewardError for a prompt that has none."""
        try:
            return torch.stack([self.scores[prompt_key(p)] for p in prompts])
        except KeyError as missing:
            raise RewardError(
                f"no reference scores for prompt {str(missing)[:60]}: draw them before training"
            ) from None

    def level(self, prompts: Sequence[Any]) -> Float[Tensor, "n"]:
        """The one score of each prompt from which an answer counts as good."""
        scores = self.of(prompts)
        mean = scores.mean(-1)
        if self.quantile is None:
            return mean
        m = scores.shape[-1]
        std = scores.std(-1, correction=0)
        if m < 8 and self._pooled is not None:
            std = (m * std + (8 - m) * self._pooled) / 8
        z = Z85 if self.quantile == 0.85 else float(torch.special.ndtri(torch.tensor(self.quantile)))
        return mean + z * std


Shape = Callable[[Float[Tensor, "n"], Sequence[Any]], Float[Tensor, "n"]]


def shaped(reward: Reward, shape: Shape, name: str = "shaped") -> "Shaped":
    """A reward after any function of (scores, prompts)."""
    return Shaped(reward, shape, name)


def par(reward: Reward, references: References, *, shift: float = 0.0, slope: float = 1.0) -> "Shaped":
    """Preference As Reward (Fu et al. 2025, arXiv 2502.18770); see `preference_as_reward`.

    Args:
        references: the base policy's scores. shift: moves it right (the paper's slow-then-fast counter-example). slope: steepens it.
    """
    return Shaped(
        reward, lambda r, p: preference_as_reward(slope * (r - shift), slope * references.of(p).to(r.device)), "par"
    )


def logsigmoid_centred(reward: Reward, references: References) -> "Shaped":
    """Log-sigmoid around the references' level (Wang et al. 2024, arXiv 2402.00742)."""
    return Shaped(reward, lambda r, p: log_sigmoid_centred(r, references.level(p).to(r.device)), "logsigmoid-centred")


def ceil(reward: Reward, at: float) -> "Shaped":
    """``min(r, c)``: bounded above, and nothing else."""
    return Shaped(reward, lambda r, p: r.clamp(max=at), "ceil")


def standardise(reward: Reward) -> "Running":
    """``(r - mean) / std`` over all scores so far."""
    return Running(reward, "standardise")


def clip(reward: Reward) -> "Running":
    """``clamp(r, mean - std, mean + std)`` over all scores so far."""
    return Running(reward, "clip")


def minmax(reward: Reward) -> "Running":
    """``(r - min) / (max - min)`` over all scores so far."""
    return Running(reward, "minmax")


class Shaped:
    """A reward whose values pass through a shape."""

    def __init__(self, reward: Reward, shape: Shape, name: str) -> None:
        self.reward, self.shape, self.name = reward, shape, f"{name}({name_of(reward)})"

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        said = score(self.reward, prompts=prompts, completions=completions, **columns)
        return said.with_values(self.shape(said.values, prompts), raw=said.values)

    def state(self) -> dict[str, Tensor]:
        return state_of(self.reward)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_state_of(self.reward, state)


class Running:
    """A reward on a scale that follows all scores seen: statistics take in a batch before it is transformed.

    They span all processes and are part of a checkpoint.
    """

    def __init__(self, reward: Reward, how: Literal["standardise", "clip", "minmax"]) -> None:
        if how not in ("standardise", "clip", "minmax"):
            raise ConfigError(f"how={how!r} is not one of standardise, clip, minmax")
        self.reward, self.how, self.name = reward, how, f"{how}({name_of(reward)})"
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = float("inf"), float("-inf")

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        said = score(self.reward, prompts=prompts, completions=completions, **columns)
        seen = said.values[said.valid].detach().double().tolist()
        for batch in gather(seen):
            self._take(torch.tensor(batch, dtype=torch.float64))
        return said.with_values(self._transform(said.values), raw=said.values)

    def _take(self, x: Tensor) -> None:
        """Chan's merge of means and sums of squares."""
        if not len(x):
            return
        n, mean = len(x), float(x.mean())
        delta, total = mean - self.mean, self.count + len(x)
        self.squares += float((x - mean).square().sum()) + delta**2 * self.count * n / total
        self.mean += delta * n / total
        self.count = total
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def _transform(self, r: Tensor) -> Tensor:
        std = (self.squares / max(self.count, 1)) ** 0.5
        if self.how == "standardise":
            return (r - self.mean) / (std or 1.0)
        if self.how == "clip":
            return r.clamp(self.mean - std, self.mean + std)
        return (r - self.low) / ((self.high - self.low) or 1.0)

    def state(self) -> dict[str, Tensor]:
        own = torch.tensor([self.count, self.mean, self.squares, self.low, self.high], dtype=torch.float64)
        return {"running": own, **state_of(self.reward)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        count, self.mean, self.squares, self.low, self.high = state["running"].tolist()
        self.count = int(count)
        load_state_of(self.reward, {k: v for k, v in state.items() if k != "running"})
