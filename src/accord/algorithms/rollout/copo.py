"""COPO: where all answers to a prompt agree, learn from how the prompt fares among the others."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from math import log2
from typing import Any, Literal, Unpack, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.algorithms.rollout.credit import Term, clipped, group_mean, group_std
from accord.algorithms.rollout.trainer import Drawn, Rollout
from accord.errors import ConfigError, one_of, wanted
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards import Reward, Scores

Blend = Literal["soft-zero", "soft", "soft-forced", "forced", "zero", "global", "local"]


@dataclass(frozen=True)
class ConsistencyAware:
    """``w l(A_i) + (1 - w) l(A_q)``: see `COPO`, whose options these are."""

    blend: Blend = "soft-zero"
    gamma: float = 5.0
    rho: float = 1.0
    damped: bool = False
    clip: float = 0.2
    dual_clip: float = 3.0
    needs_critic = False
    least_group = 2

    def __post_init__(self) -> None:
        wanted(self.gamma > 0 and self.rho >= 0 and self.clip > 0 and self.dual_clip > 1,
               "consistency-aware credit wants gamma > 0, rho >= 0, clip > 0, dual_clip > 1", self)  # fmt: skip
        one_of("blend", self.blend, *get_args(Blend))

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        r, g, v = scores.values, rollouts.group, scores.valid
        among = (r - group_mean(r, g, v)) / (group_std(r, g, v) + 1e-6)
        entropy = answer_entropy(scores, g)
        overall = self._of_prompts(group_mean(r, g, v), entropy, g, v)
        local = self._local(r, among, entropy)
        each = rollouts.mask.float() * v[:, None] / rollouts.length.clamp(min=1)[:, None]
        surrogate = partial(clipped, low=self.clip, high=self.clip, dual=self.dual_clip)
        return [Term(surrogate, a.masked_fill(~v, 0.0)[:, None].expand_as(each), each * w[:, None])
                for a, w in ((among, local), (overall, 1 - local))]  # fmt: skip

    def _of_prompts(self, right: Float[Tensor, "n"], entropy: Float[Tensor, "n"], group: Int[Tensor, "n"],
                    valid: Bool[Tensor, "n"]) -> Float[Tensor, "n"]:  # fmt: skip
        """``A_q``: each prompt's reward beside those of all prompts of the batch, every one counted once."""
        size = torch.bincount(group)[group]
        worth = right * (1 - (1 - 1 / size) / size.float().log2().clamp(min=1.0) * entropy) if self.damped else right
        first = torch.tensor(
            [int(((group == q) & valid).nonzero()[0, 0]) for q in group[valid].unique()], dtype=torch.long
        )
        if len(first) < 2:
            return torch.zeros_like(worth)
        return (worth - worth[first].mean()) / (worth[first].std() + 1e-6)

    def _local(self, r: Float[Tensor, "n"], among: Float[Tensor, "n"], entropy: Float[Tensor, "n"]) -> Float[Tensor, "n"]:  # fmt: skip
        """How much of an answer's loss compares it with its group."""
        soft = torch.sigmoid(self.gamma * (entropy - self.rho)) if self.blend.startswith("soft") else torch.ones_like(r)
        if self.blend.endswith("zero"):
            return soft * (r != 0)
        if self.blend.endswith("forced"):
            return soft * (among != 0)
        return torch.zeros_like(r) if self.blend == "global" else soft


def answer_entropy(scores: Scores, group: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """``-sum p log2 p`` over the different answers of each one's group, in bits; answers that could not be read are one more.

    Raises:
        ConfigError: the reward does not say which answer it read.
    """
    if scores.answer is None:
        raise ConfigError("COPO counts answers, but its reward names none: use one that reads an answer (numeric_answer, exact_answer …), "
                          "or return Scores with `answer`")  # fmt: skip
    out = torch.zeros(len(group))
    for q in group.unique().tolist():
        members = ((group == q) & scores.valid).nonzero()[:, 0].tolist()
        counts = Counter(repr(scores.answer[i]) for i in members).values()
        out[group == q] = sum(-n / len(members) * log2(n / len(members)) for n in counts)
    return out


class COPO(Rollout):
    """``w l(A_i) + (1 - w) l(A_q)``, l the clipped loss, A_i the answer among its group as in GRPO, A_q its prompt's mean reward among
    all prompts of the batch, ``w = s(gamma (H - rho))`` with H the entropy of the group's answers in bits: consistency-aware policy
    optimisation (Han et al. 2025, arXiv 2508.04138). Groups that agree, whom GRPO learns nothing from, learn from A_q.

    Args:
        reward: one that says which answer it read (`Scores.answer`); 0 means wrong.
        blend: "soft-zero", w, and 0 for wrong answers (released); "soft", w as it is; "soft-forced", w, and 0 where a group scores
            alike; "forced" and "zero", only that; "global", w = 0; "local", w = 1, which is GRPO.
        gamma: how sharply w turns. rho: at which entropy, in bits.
        damped: a prompt's reward falls with the entropy of its answers, down to 1/G.
        clip: of the ratio. dual_clip: a negative advantage counts at most so many times, > 1.
    """

    def __init__(self, policy: Samples, reward: Reward, *, blend: Blend = "soft-zero", gamma: float = 5.0, rho: float = 1.0,
                 damped: bool = False, clip: float = 0.2, dual_clip: float = 3.0, group_size: int = 8, sampling: Any = None,
                 **shared: Unpack[Drawn]) -> None:  # fmt: skip
        super().__init__(policy, reward, ConsistencyAware(blend, gamma, rho, damped, clip, dual_clip), group_size=group_size,
                         sampling=sampling, **shared)  # fmt: skip
